"""Samples that belong together, and cuts that keep them together."""

import numpy as np

from fer_keras.common.errors import DataError


def connected_groups(sha256: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """Numbers the groups of samples that must not be divided.

    Args:
        sha256: `(n,)` hashes; equal ones belong together.
        subject: `(n,)` names; equal ones belong together, `""` is nobody.

    Returns:
        `(n,)` group numbers from 0. Two samples are in one group where a chain of shared pixels
        and shared subjects joins them.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(sha256)
    rows = np.arange(count)
    known = np.flatnonzero(subject != "")
    _, pixel_nodes = np.unique(sha256, return_inverse=True)
    _, subject_nodes = np.unique(subject[known], return_inverse=True)
    # A graph with a node for each sample, each distinct image and each subject.
    starts = np.concatenate([rows, known])
    ends = np.concatenate([count + pixel_nodes, 2 * count + subject_nodes])
    graph = coo_matrix((np.ones(len(starts)), (starts, ends)), shape=(3 * count, 3 * count))
    _, components = connected_components(graph, directed=False)
    _, groups = np.unique(components[:count], return_inverse=True)
    return groups


def cut_mask(labels: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Chooses whole groups for a fraction of the samples, with all classes in proportion.

    Large groups come first, in an order drawn from the seed, and a group is taken if that brings
    the class counts nearer to their shares; the single images at the end level out what the large
    groups left over. (scikit-learn's StratifiedGroupKFold balances all folds at once, which takes
    a minute for 28,000 images, and knows only fractions of the form 1/k.)

    Args:
        labels: `(n,)` class indices.
        groups: `(n,)` group numbers.
        fraction: Share to choose, above 0 and at most 0.5.
        seed: Seeds the choice.

    Returns:
        `(n,)` bool, true for the chosen samples: at least one group, and never all.

    Raises:
        DataError: The fraction is out of range, or there are not two groups to divide.
    """
    if not 0 < fraction <= 0.5:
        raise DataError(f"Expected a validation fraction in (0, 0.5]. Received: {fraction}.")
    _, rows, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise DataError(
            f"Cannot cut a validation split: expected at least two groups of images (subjects, "
            f"exact duplicates). Received: {len(labels)} images in {len(sizes)} groups."
        )
    counts = np.zeros((len(sizes), int(labels.max()) + 1))
    np.add.at(counts, (rows, labels), 1.0)
    totals = counts.sum(axis=0)
    missing = fraction * totals
    # Relative to the size of the class, so that a rare one counts as much as a frequent one.
    weights = 1.0 / np.maximum(totals, 1.0) ** 2
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    taken = np.zeros(len(sizes), bool)
    for group in order:
        if _gain(counts[group], missing, weights) > 0:
            taken[group] = True
            missing -= counts[group]
    if not taken.any():  # every group is larger than twice its share: the least bad one
        taken[max(order, key=lambda group: _gain(counts[group], missing, weights))] = True
    return taken[rows]


def _gain(counts: np.ndarray, missing: np.ndarray, weights: np.ndarray) -> float:
    """By how much the weighted squared distance to the shares shrinks if a group is taken."""
    return float(np.dot(weights * counts, 2 * missing - counts))
