"""The eight emotions, classes of one's own, and how names are matched; never by position.

Six different label orders are in use among the public data sets and models, so an index says
nothing without the names beside it. Every data set declares its own `code -> emotion` table, every
model file carries its ordered names, and the two are joined here.
"""

from collections.abc import Sequence

from fer_keras.common.errors import DataError, did_you_mean

EMOTIONS: tuple[str, ...] = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)

# The classes by the numbers from 0 that data sets write. FER+ and RAF-DB are missing on purpose:
# programs number their folders in several ways.
AFFECTNET_7 = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
LABEL_ORDERS: dict[str, tuple[str, ...]] = {
    "affectnet7": AFFECTNET_7,
    "affectnet8": (*AFFECTNET_7, "contempt"),
    "fer2013": ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"),
}

# Spellings found in folder names, csv files and the label lists of published models.
_SPELLINGS: dict[str, str] = {
    "neutrality": "neutral",
    "ne": "neutral",
    "happy": "happiness",
    "joy": "happiness",
    "ha": "happiness",
    "surprised": "surprise",
    "su": "surprise",
    "sad": "sadness",
    "sa": "sadness",
    "angry": "anger",
    "an": "anger",
    "disgusted": "disgust",
    "di": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "fe": "fear",
    "contemptuous": "contempt",
    "co": "contempt",
}


def canonical(name: str) -> str:
    """The standard name of an emotion.

    Args:
        name: Any known spelling, in any case: `"Happy"`, `"happiness"`, `"fearful"`.

    Returns:
        One of `EMOTIONS`.

    Raises:
        DataError: The name is not an emotion that is known here.
    """
    key = name.strip().lower()
    key = _SPELLINGS.get(key, key)
    if key not in EMOTIONS:
        raise DataError(f"Unknown emotion {name!r}. {did_you_mean(key, EMOTIONS)}")
    return key


def class_name(name: str) -> str:
    """The standard name of a class: an emotion, or a word of the user's own.

    Args:
        name: `"Happy"`, `"drowsy"`, in any case.

    Returns:
        One of `EMOTIONS`, or the word itself in lower case.
    """
    try:
        return canonical(name)
    except DataError:
        return name.strip().lower()


def name_mapping(source: Sequence[str], target: Sequence[str]) -> tuple[int, ...]:
    """Where each target label stands among the source labels, by name.

    Args:
        source: Ordered names of a model's outputs.
        target: Ordered names of a data set's classes.

    Returns:
        For every name of `target` its index in `source`; `scores[:, mapping]` are then in the
        order of `target`.

    Raises:
        DataError: A target name is missing in `source`, or a list names a class twice.
    """
    from_names = [class_name(name) for name in source]
    to_names = [class_name(name) for name in target]
    for names in (from_names, to_names):
        if len(set(names)) != len(names):
            raise DataError(f"A label list names a class twice: {', '.join(names)}.")
    missing = [name for name in to_names if name not in from_names]
    if missing:
        raise DataError(
            f"The labels do not match: {', '.join(missing)} missing. Expected (data set): "
            f"{', '.join(to_names)}. Received (model): {', '.join(from_names)}."
        )
    return tuple(from_names.index(name) for name in to_names)
