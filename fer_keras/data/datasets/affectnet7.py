"""AffectNet without contempt: 283,901 training faces and 500 of each class for validation.

Files, counts and source: see `affectnet_files`.
"""

from dataclasses import replace
from pathlib import Path

from fer_keras.data.datasets import affectnet_files as files
from fer_keras.data.samples import SourceContent

INFO = replace(
    files.AFFECTNET.without("contempt"),
    name="affectnet7",
    title="AffectNet without contempt, 287,401 faces from the web in 7 classes",
)

find = files.find_release
source_files = files.release_files


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
