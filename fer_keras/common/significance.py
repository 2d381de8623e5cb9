"""Tests of the difference of two classifiers, and of several at once."""

from collections.abc import Sequence


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact test of whether two models are right equally often (McNemar 1947).

    Args:
        only_first: Pictures that only the first has right.
        only_second: Pictures that only the second has right.

    Returns:
        The two-sided p value of the binomial distribution; 1 where they never differ.
    """
    from scipy.stats import binomtest

    differing = only_first + only_second
    return float(binomtest(only_first, differing, 0.5).pvalue) if differing else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction for several tests (Holm 1979).

    Args:
        p_values: Of m tests.

    Returns:
        Adjusted values in the same order: reject where one is below the level, and all rejections
        together hold at that level.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
