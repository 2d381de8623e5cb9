"""The figures against hand-worked values and independent formulas."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from fer_keras.common.errors import DataError
from fer_keras.common.metrics import (
    accuracy_report,
    balanced_accuracy,
    brier_score,
    evaluate_predictions,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability_bins,
    small_evidence,
    softmax,
    wilson_interval,
)


def test_wilson_interval_solves_its_defining_equation() -> None:
    # The bounds are the p for which |k/n - p| = z sqrt(p (1 - p) / n): another route than the code.
    for successes, trials in ((1, 10), (37, 50), (2567, 3589)):
        for bound in wilson_interval(successes, trials):
            left = abs(successes / trials - bound)
            assert left == pytest.approx(
                1.959963984540054 * math.sqrt(bound * (1 - bound) / trials), rel=1e-9
            )


def test_wilson_interval_of_a_published_example() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263 gives 0.2553 to 0.3662.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 20), (20, 20), (1, 10), (37, 50), (2567, 3589)]
)
def test_wilson_interval_is_that_of_scipy(successes: int, trials: int) -> None:
    theirs = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx(theirs, abs=1e-9)


def test_wilson_interval_at_the_ends() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(0, 20)[0] == 0.0
    assert wilson_interval(0, 20)[1] == pytest.approx(0.1611, abs=1e-4)  # Newcombe, 0 of 20
    assert wilson_interval(20, 20)[1] == 1.0
    with pytest.raises(DataError, match="successes"):
        wilson_interval(3, 2)


def test_calibration_error_by_hand() -> None:
    confidences = [0.95, 0.95, 0.95, 0.95, 0.55, 0.55]
    correct = [1, 1, 1, 0, 1, 0]
    # Bin of 0.95: 4 of 6 images, |0.75 - 0.95| = 0.2. Bin of 0.55: 2 of 6, |0.5 - 0.55| = 0.05.
    expected = 4 / 6 * 0.2 + 2 / 6 * 0.05
    assert expected_calibration_error(confidences, correct) == pytest.approx(expected)


def test_bins_are_closed_on_the_right_and_hold_everything() -> None:
    bins = reliability_bins([0.0, 0.5, 0.50001, 1.0, 1.0000001], [1, 1, 0, 1, 1], num_bins=2)
    assert [b.count for b in bins] == [2, 3]
    assert bins[0].accuracy == 1.0
    assert bins[1].accuracy == pytest.approx(2 / 3)
    empty = reliability_bins([0.9], [1], num_bins=4)[0]
    assert (empty.count, empty.accuracy, empty.confidence) == (0, None, None)


def test_temperature_recovers_the_scale_that_spoilt_the_logits() -> None:
    generator = np.random.default_rng(0)
    honest = generator.normal(size=(20_000, 5)) * 1.5
    p = softmax(honest)
    labels = (p.cumsum(axis=1) > generator.random((len(p), 1))).argmax(axis=1)
    targets = np.eye(5)[labels]
    assert fit_temperature(honest * 3.0, targets) == pytest.approx(3.0, rel=0.03)
    assert fit_temperature(honest * 0.5, targets) == pytest.approx(0.5, rel=0.03)


def test_temperature_is_the_minimum_for_two_logits_by_hand() -> None:
    # 3 of 4 right at logit difference d: the best p is 3/4, so d / T = ln 3.
    logits = np.array([[2.0, 0.0]] * 4)
    targets = np.array([[1, 0], [1, 0], [1, 0], [0, 1]])
    assert fit_temperature(logits, targets) == pytest.approx(2 / math.log(3), rel=1e-5)


def test_few_pictures_that_are_all_right_make_nothing_surer() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 7, 45)
    targets = np.eye(7)[labels]
    logits = generator.normal(size=(45, 7)) + 6 * targets
    assert (logits.argmax(axis=1) == labels).all()
    assert fit_temperature(logits, targets) == 1.0
    assert "0 wrong of 45" in (small_evidence(45, 1.0) or "")


def test_confidence_is_taken_away_on_little_evidence() -> None:
    # 9 of 10 right at a difference of 20: the best p is 9/10, so T = 20 / ln 9.
    logits = np.array([[20.0, 0.0]] * 10)
    targets = np.array([[1, 0]] * 9 + [[0, 1]])
    assert fit_temperature(logits, targets) == pytest.approx(20 / math.log(9), rel=1e-4)


@pytest.mark.parametrize(("n", "accuracy"), [(3573, 0.69), (3589, 0.87), (500, 0.98)])
def test_as_many_errors_as_fer_has_still_sharpen(n: int, accuracy: float) -> None:
    errors = round(n * (1 - accuracy))
    logits = np.zeros((n, 2))
    logits[:, 0] = 0.1
    targets = np.eye(2)[(np.arange(n) < errors).astype(int)]
    expected = 0.1 / math.log((n - errors) / errors)
    assert fit_temperature(logits, targets) == pytest.approx(max(expected, 0.05), rel=1e-4)
    assert small_evidence(n, accuracy) is None


def test_temperature_refuses_what_it_cannot_use() -> None:
    with pytest.raises(DataError, match="shape"):
        fit_temperature(np.zeros((3, 2)), np.zeros((2, 2)))
    with pytest.raises(DataError, match="finite"):
        fit_temperature(np.array([[np.nan, 0.0]]), np.array([[1.0, 0.0]]))


def test_likelihood_and_brier_by_hand() -> None:
    p, t = np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    assert negative_log_likelihood(p, t) == pytest.approx(-(math.log(0.8) + math.log(0.3)) / 2)
    assert brier_score(p, t) == pytest.approx((0.04 + 0.04 + 0.49 + 0.49) / 2)
    # A target that is a distribution: cross-entropy, not its arg max.
    soft = negative_log_likelihood([[0.5, 0.5]], [[0.25, 0.75]])
    assert soft == pytest.approx(math.log(2))
    assert math.isfinite(negative_log_likelihood([[0.0, 1.0]], [[1.0, 0.0]]))


def test_softmax_does_not_overflow() -> None:
    assert softmax([[1e4, 0.0]]) == pytest.approx(np.array([[1.0, 0.0]]))


def test_all_figures_of_a_small_case_by_hand() -> None:
    names = ("neutral", "happiness", "contempt")
    true = np.array([0, 0, 0, 0, 1, 1])
    predicted = np.array([0, 0, 0, 1, 1, 2])
    probabilities = np.full((6, 3), 0.1)
    probabilities[np.arange(6), predicted] = 0.8
    duplicates = np.array([1, 0, 0, 0, 0, 1], bool)
    result = evaluate_predictions(probabilities, np.eye(3)[true], names, duplicates=duplicates)

    assert result["n"] == 6
    assert result["accuracy"] == pytest.approx(4 / 6)
    assert result["accuracy_interval"] == list(wilson_interval(4, 6))
    assert result["confusion_matrix"] == [[3, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert result["per_class"]["neutral"]["recall"] == pytest.approx(3 / 4)
    assert result["per_class"]["happiness"]["precision"] == pytest.approx(1 / 2)
    # Contempt has no image: no recall, and it is not in the means.
    assert result["per_class"]["contempt"] == {
        "support": 0, "recall": None, "precision": 0.0, "f1": None,
    }  # fmt: skip
    assert result["classes_without_images"] == ["contempt"]
    assert result["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    f1_neutral, f1_happiness = 2 * 3 / (2 * 3 + 0 + 1), 2 * 1 / (2 * 1 + 1 + 1)
    assert result["macro_f1"] == pytest.approx((f1_neutral + f1_happiness) / 2)
    assert result["without_duplicates"]["num_duplicates"] == 2
    assert result["without_duplicates"]["n"] == 4
    assert result["without_duplicates"]["accuracy"] == pytest.approx(3 / 4)
    assert result["ece"] == pytest.approx(0.8 - 4 / 6)


def test_balanced_accuracy_is_the_mean_of_the_recalls() -> None:
    assert balanced_accuracy([True, True, False, True], [4, 4, 4, 2]) == pytest.approx(5 / 6)
    assert balanced_accuracy([], []) == 0.0


def test_everything_a_duplicate_leaves_no_accuracy() -> None:
    p = np.array([[0.9, 0.1]])
    result = evaluate_predictions(p, [[1.0, 0.0]], ("fear", "anger"), duplicates=[True])
    assert result["without_duplicates"]["n"] == 0
    assert result["without_duplicates"]["accuracy"] is None
    assert accuracy_report([])["accuracy_interval"] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("probabilities", "targets"),
    [
        (np.zeros((0, 2)), np.zeros((0, 2))),
        (np.full((3, 2), 0.5), np.full((2, 2), 0.5)),
        (np.full((2, 3), 1 / 3), np.full((2, 3), 1 / 3)),
        (np.array([[np.nan, 0.5]]), np.array([[1.0, 0.0]])),
        (np.array([[3.0, -1.0]]), np.array([[1.0, 0.0]])),
        (np.array([[0.5, 0.5]]), np.array([[1.0, 1.0]])),
    ],
)
def test_what_is_no_prediction_is_refused(probabilities: np.ndarray, targets: np.ndarray) -> None:
    with pytest.raises(DataError):
        evaluate_predictions(probabilities, targets, ("fear", "anger"))


def test_figures_of_classes_are_those_of_scikit_learn() -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    # The last class never occurs, and the one before it is never predicted.
    p = rng.dirichlet(np.ones(5), 200) * [1, 1, 1, 0, 1]
    p /= p.sum(axis=1, keepdims=True)
    true = rng.integers(0, 4, 200)
    figures = evaluate_predictions(p, np.eye(5)[true], tuple("abcde"))
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(
        true, p.argmax(axis=1), labels=np.arange(5), zero_division=0.0
    )
    for i, row in enumerate(figures["per_class"].values()):
        assert row["support"] == support[i]
        assert (row["recall"] or 0, row["precision"] or 0, row["f1"] or 0) == (
            recall[i],
            precision[i],
            f1[i],
        )
    matrix = sklearn_metrics.confusion_matrix(true, p.argmax(axis=1), labels=np.arange(5))
    assert figures["confusion_matrix"] == matrix.tolist()
