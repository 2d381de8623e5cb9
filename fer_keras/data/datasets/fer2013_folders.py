"""FER2013 as picture folders: train and test, the latter PublicTest and PrivateTest together.

The repackaging that most downloads hold (`train/angry/*.jpg`). Its test folder of 7,178 pictures
mixes the split that the official protocol selects on with the one it scores, so a score on it
cannot be compared with either. Counts: those of FER2013 (Goodfellow et al., ICONIP 2013), with
PublicTest and PrivateTest added.
"""

from collections.abc import Iterable
from pathlib import Path

from fer_keras.data.datasets.class_folders import (
    examples,
    has_split_folders,
    labelled,
    list_files,
    read_split_folders,
    refuse,
)
from fer_keras.data.samples import DatasetInfo, SourceContent

_CODES: dict[int | str, str] = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprise": "surprise",
    "neutral": "neutral",
}
_CLASS_NAMES = tuple(_CODES.values())
_SPLITS = ("train", "test")

INFO = DatasetInfo(
    name="fer2013_folders",
    title="FER2013 as folders, test = PublicTest and PrivateTest mixed, in 7 classes",
    class_names=_CLASS_NAMES,
    codes=_CODES,
    official_counts={
        "train": dict(zip(_CLASS_NAMES, (3995, 436, 4097, 7215, 4830, 3171, 4965), strict=True)),
        "test": dict(zip(_CLASS_NAMES, (958, 111, 1024, 1774, 1247, 831, 1233), strict=True)),
    },
    splits=_SPLITS,
    licence=(
        "Images collected from the web for a 2013 Kaggle challenge; no redistribution licence is "
        "known. For research; neither the pixels nor pictures of them may be passed on."
    ),
    citation=(
        "Goodfellow et al., Challenges in Representation Learning: A report on three machine "
        "learning contests, ICONIP 2013"
    ),
    how_to_get=(
        "1. Sign in at kaggle.com and download the data set msambare/fer2013. (The data set "
        "fer2013, the csv of the challenge, keeps the official splits and is the better choice.)\n"
        "2. Unpack it into the folder fer2013_folders of your data folder:\n"
        "  fer2013_folders/train/angry/*.jpg  fer2013_folders/test/angry/*.jpg\n"
        "and disgust, fear, happy, neutral, sad, surprise.\n"
        "3. Point FER_KERAS_DATA at the data folder."
    ),
    crops="cut out by OpenCV's face cascade, 48 x 48 pixels (Goodfellow et al. 2013)",
)


def find(folder: Path) -> Path | None:
    """The folder with the split folders, or the one of this name below a data folder."""
    return next(filter(has_split_folders, (folder, folder / INFO.name)), None)


def source_files(source: Path) -> Iterable[Path]:
    """Every file below the root, in a fixed order."""
    return list_files(source)


def read(source: Path) -> SourceContent:
    """All pictures below the root.

    Args:
        source: The folder with train and test.

    Returns:
        The two splits, and a note about the second.

    Raises:
        DataError: The layout is not as it should be; lists every fault by path.
    """
    faults: list[str] = []
    found = read_split_folders(
        source, faults, class_names=INFO.class_names, splits=_SPLITS, required=_SPLITS
    )
    refuse(source, faults)
    return SourceContent(
        INFO.class_names,
        {split: examples(source, labelled(found[split], INFO.class_names)) for split in _SPLITS},
        (
            "test is PublicTest and PrivateTest mixed: its score cannot be compared with scores on "
            "either",
        ),
    )
