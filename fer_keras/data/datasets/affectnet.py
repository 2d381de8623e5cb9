"""AffectNet with all 8 emotions: 287,651 training faces and 500 of each class for validation.

Files, counts and source: see `affectnet_files`.
"""

from collections.abc import Iterator
from pathlib import Path

from fer_keras.data.datasets import affectnet_files as files
from fer_keras.data.samples import DatasetInfo, SourceContent

INFO = DatasetInfo(
    name="affectnet",
    title="AffectNet, 291,651 faces from the web in 8 classes",
    class_names=files.CLASS_NAMES,
    codes=dict(enumerate(files.CLASS_NAMES)),
    official_counts=files.OFFICIAL_COUNTS,
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
    """All faces with one of the 8 emotions.

    Args:
        source: The root of a release.

    Returns:
        Train and validation; there is no public test set.

    Raises:
        DataError: The release is not as it should be; lists the faults.
    """
    return files.read_release(source, INFO.class_names)
