"""The figures of a prior, and the rule for a default, on rows whose answers are known by hand."""

import numpy as np
import pytest

from fer_keras.common.prior import PriorChoice, parse_prior
from fer_keras.evaluation.prior_rule import largest_tau, prior_figures

NAMES, PRIOR = ("neutral", "fear"), (0.9, 0.1)
# The answer turns to fear where (0.9 / 0.1) ** tau exceeds p / (1 - p): 0.6 at tau 0.185, 0.75 at
# 0.5, 0.85 at 0.789.
ROWS = np.array([[0.6, 0.4], [0.75 + 1e-9, 0.25 - 1e-9], [0.85, 0.15], [0.99, 0.01]])


def test_figures_of_a_prior() -> None:
    labels = [1, 0, 0, 0]
    own = prior_figures(ROWS, labels, NAMES, PRIOR, PriorChoice())
    assert (own["accuracy"], own["balanced_accuracy"], own["n"]) == (0.75, 0.5, 4)
    assert own["recall"]["fear"]["recall"] == 0
    given = prior_figures(ROWS, labels, NAMES, PRIOR, parse_prior("balanced:0.6"))
    assert (given["accuracy"], given["balanced_accuracy"]) == (0.75, (2 / 3 + 1) / 2)
    assert given["recall"]["neutral"]["support"] == 3
    low, high = given["recall"]["fear"]["interval"]
    # One of one: z^2 = 3.8415; 1 / (1 + z^2) = 0.2065.
    assert (low, high) == pytest.approx((0.2065, 1.0), abs=1e-3)


@pytest.mark.parametrize(("most_lost", "tau"), [(0.0, 0.75), (0.25, 1.0)])
def test_the_largest_tau_that_costs_no_more_than_is_allowed(most_lost: float, tau: float) -> None:
    # At tau 0 three of four are right, from 0.185 four, from 0.5 three again, from 0.789 two.
    assert largest_tau(ROWS, [1, 0, 0, 0], NAMES, PRIOR, most_lost=most_lost) == tau


def test_a_prior_that_only_costs_is_not_taken() -> None:
    assert largest_tau(ROWS, [0, 0, 0, 0], NAMES, PRIOR) == 0.15
