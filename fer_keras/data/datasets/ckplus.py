"""CK+ in eight classes: the last three frames of each labelled sequence, its first as neutral.

Source: Lucey et al., "The Extended Cohn-Kanade Dataset (CK+)", CVPR Workshops 2010. 327 labelled
sequences of 118 subjects give 981 + 327 = 1,308 pictures. There are no official splits: folds are
cut by subject, for most subjects show several emotions.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from fer_keras.data.datasets import ckplus_files
from fer_keras.data.samples import DatasetInfo, SourceContent

_CLASS_NAMES = tuple(ckplus_files.CODES.values())

INFO = DatasetInfo(
    name="ckplus",
    title="CK+, first and last three frames of 327 posed sequences in 8 classes",
    class_names=_CLASS_NAMES,
    codes=ckplus_files.CODES,
    official_counts={
        "train": dict(zip(_CLASS_NAMES, (327, 135, 54, 177, 75, 207, 84, 249), strict=True)),
    },
    splits=("train",),
    licence=ckplus_files.LICENCE,
    citation=ckplus_files.CITATION,
    how_to_get=(
        f"{ckplus_files.RAW_STEPS}\n"
        "The repackaging CK+48 has no neutral frames: use the data set ckplus7 for it."
    ),
    channels=3,  # some sequences are in colour
    attributes={"sequence": "str", "frame": "int64", "phase": "str"},
)


def find(folder: Path) -> Path | None:
    """The root of either layout in a data folder; `read` refuses CK+48 and says why."""
    return ckplus_files.find_ckplus(folder)


def source_files(source: Path) -> Iterable[Path]:
    """The pictures and emotion files a prepared copy depends on."""
    return ckplus_files.source_files(source)


def read(source: Path) -> SourceContent:
    """First and last three frames of every labelled sequence, no picture twice.

    Args:
        source: The folder with `cohn-kanade-images` and `Emotion`.

    Returns:
        One split, "train", with subjects and the attributes sequence, frame and phase.

    Raises:
        DataError: The layout is not as it should be (lists every fault by path), or is CK+48.
    """
    frames, notes = ckplus_files.read_raw(source, INFO)
    chosen = [
        replace(frame, emotion="neutral") if frame.phase == "neutral" else frame
        for frame in frames
        if frame.phase != "between"
    ]
    return SourceContent(
        INFO.class_names, {"train": ckplus_files.examples(source, chosen, INFO)}, notes
    )
