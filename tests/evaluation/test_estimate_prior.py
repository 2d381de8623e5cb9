"""The shares of classes are found without their labels, with an interval that covers them."""

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.evaluation.estimate_prior import estimate_prior

PRIOR = {"neutral": 0.6, "happiness": 0.3, "contempt": 0.1}


def pictures(shares: list[float], n: int = 4000) -> np.ndarray:
    """Probabilities for the prior above of faces that are one number around their class's own."""
    rng = np.random.default_rng(1)
    x = rng.choice(3, size=n, p=shares) + rng.normal(0, 0.6, n)
    likely = np.exp(-0.5 * ((x[:, None] - np.arange(3)) / 0.6) ** 2)
    joint = likely * np.array(list(PRIOR.values()))
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("shares", [[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.5, 0.0, 0.5]])
def test_other_shares_than_in_training_are_found(shares: list[float]) -> None:
    p = pictures(shares)
    found = estimate_prior(p, PRIOR)
    assert (found["n"], found["resamples"]) == (4000, 200)
    rows = found["shares"].values()
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    for row, share in zip(rows, shares, strict=True):
        assert row["share"] == pytest.approx(share, abs=0.03)
        assert row["interval"][0] - 0.02 <= share <= row["interval"][1] + 0.02
        assert 0 <= row["interval"][0] <= row["share"] <= row["interval"][1]
    # What is commonly counted, the answers, is farther off where the shares are others.
    if shares[2] == 0.7:
        counted = np.bincount(p.argmax(axis=1), minlength=3) / len(p)
        assert abs(counted[2] - 0.7) > 5 * abs(list(rows)[2]["share"] - 0.7)


def test_fewer_pictures_are_less_sure_and_the_same_again() -> None:
    few, many = (estimate_prior(pictures([0.3, 0.4, 0.3], n), PRIOR) for n in (100, 4000))

    def width(found: dict[str, dict[str, dict[str, list[float]]]]) -> float:
        low, high = found["shares"]["happiness"]["interval"]
        return high - low

    assert width(few) > 3 * width(many)
    assert estimate_prior(pictures([0.3, 0.4, 0.3], 100), PRIOR) == few


def test_what_cannot_be_estimated_is_refused() -> None:
    with pytest.raises(DataError, match="expected pictures"):
        estimate_prior(np.zeros((0, 3)), PRIOR)
    with pytest.raises(ConfigError, match="no training target of contempt"):
        estimate_prior(pictures([0.6, 0.3, 0.1], 10), {**PRIOR, "contempt": 0.0})
