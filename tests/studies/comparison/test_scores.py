"""The figures of a comparison against hand counts and other people's."""

import numpy as np
import pytest

from fer_keras.common.significance import holm, mcnemar
from fer_keras.studies.comparison.scores import (
    annotator_ceiling,
    annotator_figures,
    compare_pairs,
    emotion_votes,
    model_figures,
    pareto_front,
)


def test_mcnemar_is_the_binomial_test() -> None:
    # 2 * (1 + 10 + 45) / 2**10 by hand: at most 2 of 10.
    assert mcnemar(2, 8) == pytest.approx(112 / 1024)
    assert mcnemar(8, 2) == mcnemar(2, 8)
    assert mcnemar(0, 0) == 1.0
    # Agresti 2002, table 10.1: approval ratings, b 86 and c 150.
    assert mcnemar(86, 150) == pytest.approx(3.7e-05, rel=0.02)


def test_holm_steps_down() -> None:
    # Example of R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_pairs_are_counted() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    answers = {
        "a": np.array([0, 0, 1, 0, 0, 1]),
        "b": np.array([0, 1, 0, 0, 1, 1]),
        "c": np.array([0, 0, 1, 1, 2, 2]),
    }
    first, second, third = compare_pairs(answers, labels)
    assert (first.first, first.second) == ("a", "b")
    assert (first.only_first, first.only_second, first.neither) == (2, 0, 1)
    assert (second.only_first, second.only_second, second.neither) == (0, 3, 0)
    assert third.p_holm == pytest.approx(min(1, 3 * third.p_value))


def test_an_unknown_class_counts_as_wrong_and_stands_apart() -> None:
    names = ("neutral", "happiness", "contempt")
    targets = np.eye(3, dtype=np.float32)[[0, 1, 2, 2]]
    p = np.array([[0.8, 0.2, 0], [0.4, 0.6, 0], [0.5, 0.5, 0], [1, 0, 0]])
    figures = model_figures(p, targets, names, [True, True, False], duplicates=None)
    assert figures["accuracy"] == 0.5
    assert figures["known_only"]["n"] == 2
    assert figures["known_only"]["accuracy"] == 1.0
    # Without the pictures whose label it cannot give: -(ln 0.8 + ln 0.6) / 2.
    assert figures["nll"] == pytest.approx(-(np.log(0.8) + np.log(0.6)) / 2)
    assert figures["ece_plain"] is None


def test_agreement_with_annotators() -> None:
    names = ("happiness", "neutral")
    votes = np.zeros((3, 10), int)
    votes[0, [0, 1]] = 2, 8  # neutral 2, happiness 8
    votes[1, [0, 1]] = 5, 5
    votes[2, 1] = 1  # one vote is no agreement
    counts = emotion_votes(votes, names)
    assert counts.tolist() == [[8, 2], [5, 5], [1, 0]]
    p = np.array([[0.7, 0.3], [0.6, 0.4], [0, 1.0]])
    figures = annotator_figures(p, counts, [True, True])
    assert figures["soft_accuracy"] == pytest.approx((0.8 + 0.5) / 2)
    kl = 0.8 * np.log(0.8 / 0.7) + 0.2 * np.log(0.2 / 0.3)
    kl += 0.5 * np.log(0.5 / 0.6) + 0.5 * np.log(0.5 / 0.4)
    assert figures["kl"] == pytest.approx(kl / 2)
    # A model that knows happiness alone: its share of those votes is 1.
    assert annotator_figures(p, counts, [True, False])["kl"] == pytest.approx(0)


def test_the_ceiling_by_leaving_each_vote_out() -> None:
    counts = np.random.default_rng(0).integers(0, 5, (40, 4))
    counts = counts[counts.sum(axis=1) >= 2]
    agree, same, cross, entropy = [], [], [], []
    for row in counts:
        ballots = np.repeat(np.arange(4), row)
        share = row / row.sum()
        entropy.append(-sum(x * np.log(x) for x in share if x))
        for i, ballot in enumerate(ballots):
            others = np.bincount(np.delete(ballots, i), minlength=4)
            winners = np.flatnonzero(others == others.max())
            weight = 1 / len(ballots)
            agree.append(weight * (ballot in winners) / len(winners))
            same.append(weight * others[ballot] / others.sum())
            cross.append(-weight * np.log((others[ballot] + 0.5) / (others.sum() + 2)))
    ceiling = annotator_ceiling(counts)
    n = len(counts)
    assert ceiling["n"] == n
    assert ceiling["others"] == pytest.approx(sum(agree) / n)
    assert ceiling["one_annotator"] == pytest.approx(sum(same) / n)
    assert ceiling["best_answer"] == pytest.approx((counts.max(1) / counts.sum(1)).mean())
    assert ceiling["kl_others"] == pytest.approx((sum(cross) - sum(entropy)) / n)


def test_the_pareto_front() -> None:
    assert pareto_front([3, 1, 2, 2, 4], [0.8, 0.5, 0.7, 0.6, 0.8]) == [1, 2, 0]
