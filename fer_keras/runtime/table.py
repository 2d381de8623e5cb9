"""Results as a table, one row per face: what deepface's and py-feat's users load into pandas."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fer_keras.common.errors import ConfigError

_COLUMNS = (
    "picture", "path", "face", "x", "y", "width", "height", "dominant", "score", "unsure",
    "label_set",
)  # fmt: skip
_LOOK_COLUMNS = ("yaw", "pitch", "roll", "quality", "valence", "arousal")


def face_table(
    results: Iterable[Sequence[Mapping[str, Any]]],
    paths: Sequence[str | None],
    class_names: Sequence[str],
) -> Any:
    """Makes a table of the faces of several pictures.

    Args:
        results: The faces of each picture, as `Recognizer.recognize` returns them.
        paths: Of the same pictures; None for one that is no file.
        class_names: The labels.

    Returns:
        A `pandas.DataFrame` with the columns `picture` (its number from 0), `path`, `face` (its
        number in the picture, the largest first), `x`, `y`, `width`, `height` in pixels,
        `dominant`, `score`, `unsure`, `label_set` (joined by "|", as in the CSV of `predict`), and
        the probability of every label under its name, then `yaw`, `pitch` and `roll` in degrees
        (empty where they are not known), `quality`, `valence` and `arousal` (empty from models
        without them). A picture without a face has one row whose
        other fields are empty, so that no picture is lost.

    Raises:
        ConfigError: pandas is not installed; the base install does without it.
    """
    try:
        import pandas  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigError(
            "a table needs pandas, which the base install leaves out. Install it with: pip install "
            "pandas, or use recognize(picture), which returns plain dicts"
        ) from error
    rows: list[dict[str, Any]] = []
    for picture, (faces, path) in enumerate(zip(results, paths, strict=True)):
        where = {"picture": picture, "path": path}
        rows += [
            {**where, "face": number, **face_fields(face)} for number, face in enumerate(faces)
        ]
        if not faces:
            rows.append(where)
    return pandas.DataFrame(rows, columns=[*_COLUMNS, *class_names, *_LOOK_COLUMNS])


def face_fields(face: Mapping[str, Any]) -> dict[str, Any]:
    """A face as the fields of a row, from `x` to the arousal."""
    box = dict(zip(("x", "y", "width", "height"), face["box"], strict=True))
    facts = {key: face[key] for key in ("dominant", "score", "unsure")}
    label_set = "|".join(face["label_set"])
    look = {**(face["pose"] or {}), **{name: face[name] for name in _LOOK_COLUMNS[3:]}}
    return {**box, **facts, "label_set": label_set, **face["emotions"], **look}
