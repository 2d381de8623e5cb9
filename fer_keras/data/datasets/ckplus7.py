"""CK+ in seven classes: the last three frames of each labelled sequence, raw or as CK+48.

Source: Lucey et al., "The Extended Cohn-Kanade Dataset (CK+)", CVPR Workshops 2010. 327 labelled
sequences (anger 45, contempt 18, disgust 59, fear 25, happiness 69, sadness 28, surprise 83) of
118 subjects give 981 pictures; there is no neutral. There are no official splits: folds are cut by
subject, for most subjects show several emotions.
"""

from collections.abc import Iterable
from pathlib import Path

from fer_keras.data.datasets import ckplus_files
from fer_keras.data.samples import DatasetInfo, SourceContent

_CODES = {code: name for code, name in ckplus_files.CODES.items() if name != "neutral"}
_CLASS_NAMES = tuple(_CODES.values())

INFO = DatasetInfo(
    name="ckplus7",
    title="CK+, last three frames of 327 posed sequences in 7 classes, raw or CK+48",
    class_names=_CLASS_NAMES,
    codes=_CODES,
    official_counts={
        "train": dict(zip(_CLASS_NAMES, (135, 54, 177, 75, 207, 84, 249), strict=True)),
    },
    splits=("train",),
    licence=ckplus_files.LICENCE,
    citation=ckplus_files.CITATION,
    how_to_get=(
        f"{ckplus_files.RAW_STEPS}\n"
        "Or put the repackaging CK+48 there: ckplus/CK+48/happy/S010_006_00000015.png and the "
        "folders anger, contempt, disgust, fear, sadness, surprise. Where both are, raw is read."
    ),
    channels=3,  # some raw sequences are in colour
    attributes={"sequence": "str", "frame": "int64", "phase": "str"},
)


def find(folder: Path) -> Path | None:
    """The root of either layout in a data folder."""
    return ckplus_files.find_ckplus(folder)


def source_files(source: Path) -> Iterable[Path]:
    """The pictures and emotion files a prepared copy depends on."""
    return ckplus_files.source_files(source)


def read(source: Path) -> SourceContent:
    """The peak frames of every labelled sequence.

    Args:
        source: The root of either layout.

    Returns:
        One split, "train", with subjects and the attributes sequence, frame and phase.

    Raises:
        DataError: The layout is not as it should be; lists every fault by path.
    """
    is_repack = ckplus_files.is_repack(source)
    read_frames = ckplus_files.read_repack if is_repack else ckplus_files.read_raw
    frames, notes = read_frames(source, INFO)
    peaks = [frame for frame in frames if frame.phase == "peak"]
    return SourceContent(
        INFO.class_names, {"train": ckplus_files.examples(source, peaks, INFO)}, notes
    )
