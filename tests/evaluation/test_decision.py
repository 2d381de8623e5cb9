"""Thresholds come from one half of the validation split, and are measured on the other."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.risk_coverage import curve_points, risk_coverage
from fer_keras.data.samples import Samples, one_hot
from fer_keras.evaluation.thresholds import (
    conformal_threshold,
    coverage_problem,
    decision_report,
    fit_decision,
    reject_threshold,
)
from fer_keras.reporting.plots import plot_risk_coverage
from fer_keras.runtime.decision import Decision, read_decision

NAMES = ("neutral", "happiness", "anger", "contempt")


def samples(labels: Any, sha256: Any = None, subject: Any = None) -> Samples:
    n = len(labels)
    facts = {
        "source": np.array([str(i) for i in range(n)]),
        "sha256": np.array([str(i) for i in range(n)]) if sha256 is None else np.asarray(sha256),
        "subject": np.array([""] * n) if subject is None else np.asarray(subject),
    }
    images = np.zeros((n, 2, 2, 1), np.uint8)
    return Samples("drawn", "validation", NAMES, "hard", images, one_hot(labels, 4), facts)


def calibrated(n: int, seed: int = 0) -> tuple[Any, Any]:
    """Probabilities, and labels that are drawn from them: perfectly calibrated."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.normal(size=(n, 4)) + [1.0, 1.0, 0.5, -2.0]
    p = np.exp(logits)
    p /= p.sum(axis=1, keepdims=True)
    return p, np.array([generator.choice(4, p=row) for row in p])


def test_the_smallest_threshold_that_reaches_the_target() -> None:
    confidences = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    correct = [True, True, True, False, True, False]
    assert reject_threshold(confidences, correct, 0.8) == 0.5
    assert reject_threshold(confidences, correct, 0.9) == 0.7
    assert reject_threshold(confidences, correct, 0.6) == 0.0
    # The order of the pictures does not matter.
    order = [3, 0, 5, 2, 4, 1]
    shuffled = np.array(confidences)[order], np.array(correct)[order]
    assert reject_threshold(*shuffled, 0.8) == 0.5


def test_never_more_than_half_are_rejected() -> None:
    confidences = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert reject_threshold(confidences, [True] + [False] * 5, 0.99) == 0.7
    # Equal confidences are kept together, even where that is more than half.
    assert reject_threshold([0.9, 0.5, 0.5, 0.5, 0.5, 0.1], [False] * 6, 0.99) == 0.5
    assert reject_threshold([0.5] * 4, [True, False] * 2, 0.99) == 0.0


def test_the_conformal_threshold_is_the_quantile_of_the_paper() -> None:
    p, labels = calibrated(199)
    scores = np.sort(1 - p[np.arange(199), labels])
    # The ceil((n + 1) * 0.9) = 180th smallest score.
    assert conformal_threshold(p, labels, 0.9) == pytest.approx(1 - scores[179], abs=1e-6)


def test_our_sets_are_those_of_mapie() -> None:
    from mapie.classification import SplitConformalClassifier
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Ready(ClassifierMixin, BaseEstimator):
        classes_ = np.arange(4)

        def predict_proba(self, rows: Any) -> Any:
            return rows

        def predict(self, rows: Any) -> Any:
            return rows.argmax(axis=1)

    p, labels = calibrated(400)
    mapie = SplitConformalClassifier(Ready(), confidence_level=0.8, prefit=True)
    mapie.conformalize(p[:200], labels[:200])
    _, sets = mapie.predict_set(p[200:])
    decision = Decision(0.0, conformal_threshold(p[:200], labels[:200], 0.8))
    for row, expected in zip(p[200:], sets[:, :, 0], strict=True):
        members = np.flatnonzero(expected) if expected.any() else [row.argmax()]
        assert sorted(decision.label_set(row)) == list(members)


def test_a_coverage_needs_pictures() -> None:
    p, labels = calibrated(10)
    with pytest.raises(DataError, match=r"0\.9 needs more pictures. Received: 10"):
        conformal_threshold(p, labels, 0.9)


def test_the_stated_coverage_is_reached_on_pictures_that_were_not_used() -> None:
    measured = []
    for seed in range(20):
        p, labels = calibrated(1000, seed)
        fitted = fit_decision(p, samples(labels), accuracy_target=0.85)
        assert fitted is not None
        fresh, truth = calibrated(1000, seed + 100)
        sets = [fitted.decision.label_set(row) for row in fresh]
        measured.append(np.mean([y in s for y, s in zip(truth, sets, strict=True)]))
        kept = fresh.max(axis=1) >= fitted.decision.reject_threshold
        right = fresh.argmax(axis=1) == truth
        assert right[kept].mean() == pytest.approx(0.85, abs=0.06)
    # By class, the sets cover a little more than 90 % of all: no class has less.
    assert np.mean(measured) == pytest.approx(0.905, abs=0.015)


def uneven(n: int, seed: int) -> tuple[Any, Any]:
    """Calibrated probabilities of two frequent classes and a rare one that is hard to see."""
    rng = np.random.default_rng(seed)
    prior, place = np.array([0.6, 0.34, 0.06]), np.array([0.0, 3.0, 0.9])
    labels = rng.choice(3, size=n, p=prior)
    x = place[labels] + rng.normal(size=n)
    joint = prior * np.exp(-0.5 * (x[:, None] - place) ** 2)
    return joint / joint.sum(axis=1, keepdims=True), labels


def test_every_class_is_covered_as_often() -> None:
    p, labels = uneven(4000, 0)
    names = ("neutral", "happiness", "fear")
    data = dataclasses.replace(samples(labels), class_names=names, targets=one_hot(labels, 3))
    fitted = fit_decision(p, data)
    assert fitted is not None
    assert fitted.too_few == ()
    fresh, truth = uneven(20_000, 1)

    def coverage(decision: Decision) -> list[float]:
        sets = [decision.label_set(row) for row in fresh]
        covered = np.array([y in s for y, s in zip(truth, sets, strict=True)])
        return [float(covered[truth == label].mean()) for label in range(3)]

    together = Decision(0.0, fitted.decision.conformal_threshold)
    assert coverage(together)[2] < 0.5
    assert min(coverage(fitted.decision)) > 0.84
    report = "\n".join(decision_report(fitted.block(p[fitted.held_out])))
    assert "too few" not in report


def test_a_class_with_too_few_pictures_is_named() -> None:
    p, labels = uneven(200, 0)
    names = ("neutral", "happiness", "fear")
    data = dataclasses.replace(samples(labels), class_names=names, targets=one_hot(labels, 3))
    fitted = fit_decision(p, data)
    assert fitted is not None
    assert fitted.too_few == ("fear",)
    block = fitted.block(p[fitted.held_out])
    assert block["conformal_by_class"]["fear"] == block["conformal_threshold"]
    assert block["conformal_by_class"]["neutral"] != block["conformal_threshold"]
    report = "\n".join(decision_report(block))
    assert f"; fear (too few pictures) {block['conformal_threshold']:.3f} on" in report


def test_the_figures_are_those_of_the_other_half() -> None:
    p, labels = calibrated(600)
    data = samples(labels)
    fitted = fit_decision(p, data)
    assert fitted is not None
    assert fitted.held_out.sum() == pytest.approx(300, abs=2)
    np.testing.assert_array_equal(fitted.labels, labels[fitted.held_out])
    # What the held-out pictures are cannot move a threshold.
    other = p.copy()
    other[fitted.held_out] = 0.25
    again = fit_decision(other, data)
    assert again is not None
    assert again.decision == fitted.decision
    # What the fitted pictures are cannot move a figure.
    held_out = p[fitted.held_out]
    measured = fitted.measure(held_out)
    right = held_out.argmax(axis=1) == fitted.labels
    kept = held_out.max(axis=1) >= fitted.decision.reject_threshold
    assert measured["kept"] == kept.mean()
    assert measured["kept_accuracy"] == right[kept].mean()
    low, high = measured["kept_accuracy_interval"]
    assert low < measured["kept_accuracy"] < high
    members = held_out >= np.array(fitted.decision.class_thresholds)
    members[np.arange(len(members)), held_out.argmax(axis=1)] = True
    assert measured["mean_size"] == members.sum(axis=1).mean()
    assert measured["coverage"] == members[np.arange(len(members)), fitted.labels].mean()
    assert sum(row["n"] for row in measured["coverage_by_class"].values()) == len(held_out)


def test_copies_and_subjects_are_not_divided() -> None:
    p, labels = calibrated(200)
    pairs = np.arange(200) // 2
    copies = fit_decision(p, samples(labels, sha256=pairs.astype(str)))
    people = fit_decision(p, samples(labels, subject=(np.arange(200) % 10).astype(str)))
    assert copies is not None
    assert people is not None
    assert (copies.held_out[::2] == copies.held_out[1::2]).all()
    assert all(len(set(people.held_out[i::10])) == 1 for i in range(10))


def test_a_split_that_cannot_be_halved_gives_no_thresholds() -> None:
    p, labels = calibrated(60)
    assert fit_decision(p[:48], samples(labels[:48])) is None
    assert fit_decision(p, samples(labels, subject=["one"] * 60)) is None
    assert fit_decision(p, samples(labels, subject=["one"] * 50 + ["two"] * 10)) is None
    assert fit_decision(p, samples(labels)) is not None
    assert "cannot be halved" in decision_report(None)[0]


@pytest.mark.parametrize("given", [{"accuracy_target": 0}, {"accuracy_target": 1.2},
                                   {"coverage": 1.0}, {"coverage": 0.0}])  # fmt: skip
def test_targets_out_of_range(given: dict[str, float]) -> None:
    p, labels = calibrated(60)
    with pytest.raises(ConfigError, match="Expected an accuracy target"):
        fit_decision(p, samples(labels), **given)


def test_the_block_is_what_the_runtime_reads() -> None:
    p, labels = calibrated(400)
    fitted = fit_decision(p, samples(labels), accuracy_target=0.9)
    assert fitted is not None
    block = fitted.block(p[fitted.held_out])
    manifest = {"decision": block, "class_names": list(fitted.class_names)}
    assert read_decision(manifest, Path("manifest.json")) == fitted.decision
    assert block["n"] + block["n_measured"] == 400
    assert block["conformal_coverage"] == 0.9
    assert block["reject_accuracy"] == block["measured"]["keras"]["kept_accuracy"]
    assert block["risk_coverage"][-1]["kept"] == 1
    report = "\n".join(decision_report(block))
    assert f"{block['reject_threshold']:.3f}" in report
    assert f"{min(block['conformal_by_class'].values()):.3f}" in report
    assert "half of the validation split" in report


def test_an_int8_file_that_loses_coverage_is_not_published() -> None:
    p, labels = calibrated(2000)
    fitted = fit_decision(p, samples(labels))
    assert fitted is not None
    exact = p[fitted.held_out]
    block = fitted.block(exact)
    flat = 0.5 * exact
    flat[:, 0] += 0.5
    block["measured"] |= {"same": fitted.measure(exact), "int8": fitted.measure(flat)}
    assert coverage_problem(block, "same") is None
    assert "allowed loss 1.00%" in str(coverage_problem(block, "int8"))
    assert "same: " in decision_report(block)[0]


def test_the_curve_by_hand(tmp_path: Path) -> None:
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.8, 0.2], [0.6, 0.4]])
    kept, accuracy, thresholds = risk_coverage(p, [0, 1, 1, 1])
    np.testing.assert_allclose(kept, [0.25, 0.75, 1.0])
    np.testing.assert_allclose(accuracy, [1.0, 2 / 3, 0.5])
    np.testing.assert_allclose(thresholds, [0.9, 0.8, 0.6])
    points = curve_points(kept, accuracy, thresholds)
    assert [point["kept"] for point in points] == [0.25, 0.75, 1.0]
    path = tmp_path / "risk_coverage.png"
    for chosen in ((0.75, 2 / 3), (0.0, None)):
        plot_risk_coverage({"Keras": (kept, accuracy)}, path, chosen=chosen, target=0.95)
        assert path.read_bytes()[:4] == b"\x89PNG"
