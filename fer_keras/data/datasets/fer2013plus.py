"""FER2013Plus of Kaggle: FER2013 pictures under FER+ labels, as folders, in eight classes.

There are no official counts. Copies of the same name differ: one has 28,386 pictures in train and
7,099 in test and no validation, another 66,387, 8,341 and 3,586 after classes were filled up to
equal sizes with augmented pictures. The table published for the latter does not add up (its rows
sum to 66,379 and, for test, to 3,683). So the files are counted, and whatever copy was read is
described by its own counts.
"""

from collections.abc import Iterable
from pathlib import Path

from fer_keras.common.labels import EMOTIONS
from fer_keras.data.datasets.class_folders import (
    CUT_SEED,
    cut,
    examples,
    has_split_folders,
    labelled,
    list_files,
    read_split_folders,
    refuse,
)
from fer_keras.data.samples import SPLITS, DatasetInfo, Example, SourceContent

_SHARE = 0.1  # of train that becomes the validation split where there is none

INFO = DatasetInfo(
    name="fer2013plus",
    title="FER2013Plus of Kaggle, FER2013 pictures in folders of 8 emotions",
    class_names=EMOTIONS,
    codes={
        "angry": "anger",
        "contempt": "contempt",
        "disgust": "disgust",
        "fear": "fear",
        "happy": "happiness",
        "neutral": "neutral",
        "sad": "sadness",
        "surprise": "surprise",
    },
    official_counts={},
    splits=SPLITS,
    licence=(
        "Images: those of FER2013, no redistribution licence is known; for research, neither the "
        "pixels nor pictures of them may be passed on. Labels: derived from FER+ (MIT)."
    ),
    citation=(
        "Barsoum et al., Training Deep Networks for Facial Expression Recognition with "
        "Crowd-Sourced Label Distribution, ICMI 2016"
    ),
    how_to_get=(
        "1. Sign in at kaggle.com and download the data set subhaditya/fer2013plus. (The data set "
        "ferplus, made from the csv files of its authors, has the votes and the official splits.)\n"
        "2. Unpack it into the folder fer2013plus of your data folder:\n"
        "  fer2013plus/train/angry/*.png  fer2013plus/validation/...  fer2013plus/test/...\n"
        "and contempt, disgust, fear, happy, neutral, sad, surprise (or anger, happiness, "
        "sadness); without validation, a tenth of train is cut for it.\n"
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
        source: The folder with train, test and mostly validation.

    Returns:
        Three splits; where there is no validation folder, a tenth of train is cut for it, which
        depends on the pictures alone and keeps exact copies together.

    Raises:
        DataError: The layout is not as it should be; lists every fault by path.
    """
    faults: list[str] = []
    found = read_split_folders(
        source, faults, class_names=INFO.class_names, required=("train", "test")
    )
    refuse(source, faults)
    pictures = {split: labelled(classes, INFO.class_names) for split, classes in found.items()}
    notes = [
        "copies of this data set differ; augmented copies of one face may lie on both sides of a "
        "split"
    ]
    if "validation" not in pictures:
        pictures["train"], pictures["validation"] = cut(source, pictures["train"], _SHARE)
        notes.append(f"validation: {_SHARE:.0%} of train, cut with seed {CUT_SEED}")
    splits: dict[str, Iterable[Example]] = {
        split: examples(source, pictures[split]) for split in SPLITS
    }
    return SourceContent(INFO.class_names, splits, tuple(notes))
