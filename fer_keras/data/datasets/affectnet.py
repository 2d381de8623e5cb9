"""AffectNet with all 8 emotions: 287,651 training faces and 500 of each class for validation.

Files, counts and source: see `affectnet_files`.
"""

from pathlib import Path

from fer_keras.data.datasets import affectnet_files as files
from fer_keras.data.samples import SourceContent

INFO = files.AFFECTNET

find = files.find_release
source_files = files.release_files


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
