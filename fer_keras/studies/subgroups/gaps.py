"""The gaps of the subgroups study, and whether they are significant."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.metrics import accuracy_report, wilson_interval
from fer_keras.common.significance import holm

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples

# Kids and adults by DDAMFN on the test split of FER2013Plus, as its study states them: n, right
# answers. Of 3,586 pictures 19 are in neither group.
PUBLISHED = {"kids": (620, 499), "adults": (2947, 2439)}
_DRAWS = 20_000
_SEED = 0

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def compare_groups(
    name: str,
    predicted: Ints,
    samples: "Samples",
    groups: Mapping[str, Mapping[str, Bools]],
    min_group: int,
) -> dict[str, Any]:
    """Everything about one model.

    Args:
        name: Of the model.
        predicted: `(n,)` its answers, indices of the data set's classes.
        samples: The pictures.
        groups: Attribute -> group -> who is in it.
        min_group: Smaller groups are not compared.

    Returns:
        A dict that `json.dumps` takes: `model` and `attributes`, attribute -> `groups` (accuracy,
        balanced accuracy, recalls, confusion matrix) and `gaps` (each group against the others).
        Of two groups only the first is compared. `p_holm` of gaps and of those within classes is
        corrected over all attributes, that of the recalls over all classes too.
    """
    labels, right = samples.labels, predicted == samples.labels
    everybody = np.zeros(len(labels), np.int64)
    attributes: dict[str, Any] = {}
    for attribute, members in groups.items():
        of_groups = {}
        gaps = []
        known = np.any(list(members.values()), axis=0)
        for group, inside in members.items():
            recalls = {
                class_name: accuracy_report(right[inside & (labels == label)])
                for label, class_name in enumerate(samples.class_names)
            }
            present = [r["accuracy"] for r in recalls.values() if r["n"]]
            of_groups[group] = {
                **accuracy_report(right[inside]),
                "balanced_accuracy": float(np.mean(present)),
                "recalls": recalls,
                "confusion_matrix": _confusion(
                    labels[inside], predicted[inside], len(samples.class_names)
                ),
            }
        for group, inside in list(members.items())[: 1 if len(members) == 2 else None]:
            others = known & ~inside
            if min(inside.sum(), others.sum()) < min_group:
                continue
            gap = _gap(right, inside, others)
            gap |= {"group": group, "others": _others(group, members)}
            gap["p"] = permutation_p(right[known], inside[known], everybody[known])
            gap["p_within_classes"] = permutation_p(right[known], inside[known], labels[known])
            gap["recalls"] = {}
            for label, class_name in enumerate(samples.class_names):
                own = labels == label
                if min((inside & own).sum(), (others & own).sum()) >= min_group:
                    of_class = known & own
                    p = permutation_p(right[of_class], inside[of_class], everybody[of_class])
                    gap["recalls"][class_name] = {**_gap(right, inside & own, others & own), "p": p}
            gaps.append(gap)
        attributes[attribute] = {"groups": of_groups, "gaps": gaps}
    all_gaps = [gap for attribute in attributes.values() for gap in attribute["gaps"]]
    for key in ("p", "p_within_classes"):
        _correct(all_gaps, key)
    _correct([recall for gap in all_gaps for recall in gap["recalls"].values()], "p")
    return {"model": name, "n": len(labels), "attributes": attributes}


def permutation_p(right: Bools, inside: Bools, strata: Ints, seed: int = _SEED) -> float:
    """How often chance alone makes a gap at least as large: a two-sided permutation test.

    Which pictures are in the group is drawn again within each stratum. The number of right answers
    in it is then hypergeometric, so that only numbers have to be drawn. With one stratum this is
    Fisher's exact test on the difference; with the classes as strata it is the exact form of the
    Cochran-Mantel-Haenszel test: groups that only show other emotions have no gap.

    Args:
        right: `(n,)`, whether the answer is right.
        inside: `(n,)`, who is in the group.
        strata: `(n,)`, within which the group is drawn again.
        seed: Of the draws.

    Returns:
        The share of the draws, and of what was seen, that is at least as far from expectation.
    """
    rng = np.random.default_rng(seed)
    seen = 0.0
    drawn = np.zeros(_DRAWS)
    for stratum in np.unique(strata):
        here = strata == stratum
        n, size, hits = int(here.sum()), int(inside[here].sum()), int(right[here].sum())
        expected = size * hits / n
        seen += int(right[here & inside].sum()) - expected
        drawn += rng.hypergeometric(hits, n - hits, size, _DRAWS) - expected
    # A hair less than what was seen, so that equal numbers count in spite of rounding.
    return float((1 + (np.abs(drawn) >= abs(seen) - 1e-9).sum()) / (1 + _DRAWS))


def difference_interval(hits: int, n: int, other_hits: int, other_n: int) -> tuple[float, float]:
    """The 95 % interval of the difference of two proportions (Newcombe 1998, method 10).

    Args:
        hits: Right answers of the first.
        n: Its pictures, at least 1.
        other_hits: Right answers of the second.
        other_n: Its pictures, at least 1.

    Returns:
        Lower and upper bound of first less second, from the two Wilson intervals.
    """
    first, second = hits / n, other_hits / other_n
    low, high = wilson_interval(hits, n)
    other_low, other_high = wilson_interval(other_hits, other_n)
    return (
        first - second - float(np.hypot(first - low, other_high - second)),
        first - second + float(np.hypot(high - first, second - other_low)),
    )


def _correct(tests: Sequence[dict[str, Any]], key: str) -> None:
    for test, corrected in zip(tests, holm([test[key] for test in tests]), strict=True):
        test[f"{key}_holm"] = corrected


def _gap(right: Bools, inside: Bools, others: Bools) -> dict[str, Any]:
    hits, n = int(right[inside].sum()), int(inside.sum())
    other_hits, other_n = int(right[others].sum()), int(others.sum())
    return {
        "n": n,
        "n_others": other_n,
        "gap": hits / n - other_hits / other_n,
        "gap_interval": list(difference_interval(hits, n, other_hits, other_n)),
    }


def _others(group: str, members: Mapping[str, Bools]) -> str:
    rest = [name for name in members if name != group]
    return rest[0] if len(rest) == 1 else "all others"


def _confusion(labels: Ints, predicted: Ints, num_classes: int) -> list[list[int]]:
    counts = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).tolist()


def published_gap() -> dict[str, Any]:
    """The published gap, and the test that it was not given.

    Returns:
        As the gaps of `compare_groups`, with `p` of the permutation test.
    """
    (kids_n, kids), (adults_n, adults) = PUBLISHED.values()
    right = np.repeat([True, False, True, False], [kids, kids_n - kids, adults, adults_n - adults])
    inside = np.arange(len(right)) < kids_n
    gap = _gap(right, inside, ~inside)
    return {**gap, "p": permutation_p(right, inside, np.zeros(len(right), np.int64))}
