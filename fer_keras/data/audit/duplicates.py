"""Pictures with exactly the same pixels, within and across splits."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fer_keras.data.samples import Samples
from fer_keras.data.splits import duplicated_in


@dataclass(frozen=True)
class DuplicateReport:
    """Images with exactly the same pixels, within and across splits.

    Attributes:
        within: Split -> images whose pixels another image of the same split has too.
        across: `(split, other)` -> images of `split` whose pixels also occur in `other`.
        num_conflicts: Groups of identical images that carry different labels.
        num_conflicting_images: Images in those groups.
        conflicts: For each such group, `(split, source, label)` of its images.
    """

    within: Mapping[str, int]
    across: Mapping[tuple[str, str], int]
    num_conflicts: int
    num_conflicting_images: int
    conflicts: tuple[tuple[tuple[str, str, str], ...], ...]


def duplicate_audit(splits: Mapping[str, Samples]) -> DuplicateReport:
    """Finds exact duplicates by the sha256 of the decoded native pixels.

    Args:
        splits: Split name -> its samples.

    Returns:
        Counts of duplicates and label conflicts; labels are compared by name.
    """
    within = {
        name: int(_occurs_twice(split.facts["sha256"]).sum()) for name, split in splits.items()
    }
    across = {
        (name, other): int(duplicated_in(splits[name], splits[other]).sum())
        for name in splits
        for other in splits
        if name != other
    }
    entries: dict[str, list[tuple[str, str, str]]] = {}
    for name, split in splits.items():
        labels = np.array(split.class_names)[split.labels]
        columns = (split.facts["sha256"], split.facts["source"], labels)
        for pixels, source, label in zip(*(column.tolist() for column in columns), strict=True):
            entries.setdefault(pixels, []).append((name, source, label))
    conflicts = tuple(
        tuple(group) for group in entries.values() if len({label for _, _, label in group}) > 1
    )
    return DuplicateReport(
        within, across, len(conflicts), sum(len(group) for group in conflicts), conflicts
    )


def _occurs_twice(values: np.ndarray) -> np.ndarray:
    _, positions, counts = np.unique(values, return_inverse=True, return_counts=True)
    return counts[positions] > 1
