"""AffectNet without contempt: 283,901 training faces and 500 of each class for validation.

Contempt is dropped by its name: "the last class" is another emotion as soon as a loader sorts the
classes otherwise. Files, counts and source: see `affectnet_files`.
"""

from collections.abc import Iterator
from pathlib import Path

from fer_keras.data.datasets import affectnet_files as files
from fer_keras.data.samples import DatasetInfo, SourceContent

_DROPPED = "contempt"
_CLASS_NAMES = tuple(name for name in files.CLASS_NAMES if name != _DROPPED)

INFO = DatasetInfo(
    name="affectnet7",
    title="AffectNet without contempt, 287,401 faces from the web in 7 classes",
    class_names=_CLASS_NAMES,
    codes={code: name for code, name in files.CODES.items() if name != _DROPPED},
    official_counts={
        split: {name: counts[name] for name in _CLASS_NAMES}
        for split, counts in files.OFFICIAL_COUNTS.items()
    },
    splits=("train", "validation"),
    licence=files.LICENCE,
    citation=files.CITATION,
    how_to_get=files.HOW_TO_GET,
    channels=3,
    attributes=files.ATTRIBUTES,
)


def find(folder: Path) -> Path | None:
    """A release in the folder itself or in `affectnet` below it."""
    return files.find_release(folder)


def source_files(source: Path) -> Iterator[Path]:
    """The lists and folders a prepared copy depends on."""
    return files.release_files(source)


def read(source: Path) -> SourceContent:
    """All faces with one of the 7 emotions.

    Args:
        source: The root of a release.

    Returns:
        Train and validation; a note counts the faces with contempt that were left out.

    Raises:
        DataError: The release is not as it should be; lists the faults.
    """
    return files.read_release(source, INFO.class_names)
