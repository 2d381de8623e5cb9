"""A tenth of AffectNet's training faces of each class, and all of validation.

For work that needs many runs on a small machine. Nobody published which tenth they took, so this
one is drawn with a fixed seed, and preparation writes the list of its pictures beside the data.
Files, counts and source: see `affectnet_files`.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fer_keras.data.datasets import affectnet_files as files
from fer_keras.data.samples import SourceContent

_ONE_IN = 10
_SEED = 0
_LISTING = "train_pictures"

INFO = replace(
    files.AFFECTNET,
    name="affectnet_small",
    title="AffectNet, a tenth of the training faces of each class: 28,762 and 4,000 in 8 classes",
    official_counts={
        **files.AFFECTNET.official_counts,
        "train": {
            name: count // _ONE_IN
            for name, count in files.AFFECTNET.official_counts["train"].items()
        },
    },
)

find = files.find_release
source_files = files.release_files


def read(source: Path) -> SourceContent:
    """Draws the training faces.

    Args:
        source: The root of a release.

    Returns:
        Train, with floor(count / 10) faces of each class in the order of the release; validation
        as it is; and the listing of the pictures drawn. The draw depends on the codes of the
        release and their order alone.

    Raises:
        DataError: The release is not as it should be; lists the faults.
    """
    splits = files.open_release(source)
    chosen = _draw(splits["train"].codes)
    content = files.make_content(splits, INFO.class_names, {"train": chosen})
    drawn = splits["train"].examples(chosen, {code: code for code in files.CODES})
    note = f"train: 1 in {_ONE_IN} of each class, drawn with seed {_SEED}, listed in {_LISTING}.txt"
    return replace(
        content,
        notes=(note, *content.notes),
        listings={_LISTING: tuple(example.source for example in drawn)},
    )


def _draw(codes: np.ndarray) -> np.ndarray:
    """`(n,)` bool, True for floor(count / 10) of the annotations of each emotion."""
    chosen = np.zeros(len(codes), bool)
    for code in files.CODES:
        # A generator for each class: what is drawn from one does not depend on the others.
        rows = np.random.default_rng([_SEED, code]).permutation(np.flatnonzero(codes == code))
        chosen[rows[: len(rows) // _ONE_IN]] = True
    return chosen
