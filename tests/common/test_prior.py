"""Class priors: numbers worked by hand, what a choice may be, and what is refused."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.common.prior import (
    PriorChoice,
    adjusted,
    parse_prior,
    prior_weights,
    read_class_prior,
    reweighted,
)

PRIOR = {"neutral": 0.64, "happiness": 0.32, "fear": 0.04}
ROW = [[0.8, 0.1, 0.1]]


def test_training_leaves_the_probabilities_as_they_are() -> None:
    assert adjusted(ROW, PRIOR, parse_prior("training")) == pytest.approx(np.array(ROW))


def test_uniform_divides_by_the_prior() -> None:
    # 0.8 / 0.64 = 1.25, 0.1 / 0.32 = 0.3125, 0.1 / 0.04 = 2.5; sum 4.0625.
    expected = np.array([[1.25, 0.3125, 2.5]]) / 4.0625
    assert adjusted(ROW, PRIOR, parse_prior("uniform")) == pytest.approx(expected)
    assert parse_prior("uniform") == parse_prior("balanced:1")


def test_balanced_by_half_divides_by_the_square_root() -> None:
    # sqrt(0.64) = 0.8 and sqrt(0.04) = 0.2: 0.8 / 0.8 = 1, 0.1 / 0.5657 = 0.1768, 0.1 / 0.2 = 0.5.
    expected = np.array([[1.0, 0.1767767, 0.5]]) / 1.6767767
    assert adjusted(ROW, PRIOR, parse_prior("balanced:0.5")) == pytest.approx(expected)


def test_shares_that_are_not_named_divide_the_rest_as_in_training() -> None:
    # Of the other half, neutral and happiness take 2 to 1: wanted 1/3, 1/6, 1/2.
    # 0.8 / 3 / 0.64 = 0.416667, 0.1 / 6 / 0.32 = 0.0520833, 0.1 / 2 / 0.04 = 1.25; sum 1.71875.
    expected = np.array([[0.4166667, 0.0520833, 1.25]]) / 1.71875
    assert adjusted(ROW, PRIOR, parse_prior(["fear=0.5"])) == pytest.approx(expected)
    own = [f"{name}={share}" for name, share in PRIOR.items()]
    assert adjusted(ROW, PRIOR, parse_prior(own)) == pytest.approx(np.array(ROW))


def test_shares_of_all_labels_are_normalised_when_they_sum_to_less() -> None:
    choice = parse_prior("neutral=0.1,happiness=0.1,fear=0.1")
    uniform = adjusted(ROW, PRIOR, parse_prior("uniform"))
    assert adjusted(ROW, PRIOR, choice) == pytest.approx(uniform)


def test_only_the_labels_that_are_kept_share_the_probability() -> None:
    kept = adjusted(ROW, PRIOR, PriorChoice(), ["happiness", "fear"])
    assert kept == pytest.approx(np.array([[0.0, 0.5, 0.5]]))
    # 0.1 / 0.32 = 0.3125 and 0.1 / 0.04 = 2.5.
    both = adjusted(ROW, PRIOR, parse_prior("uniform"), ["happiness", "fear"])
    assert both == pytest.approx(np.array([[0.0, 0.3125, 2.5]]) / 2.8125)


def test_a_row_of_zeros_among_the_labels_kept_becomes_equal_shares() -> None:
    kept = adjusted([[1.0, 0.0, 0.0]], PRIOR, PriorChoice(), ["happiness", "fear"])
    assert kept == pytest.approx(np.array([[0.0, 0.5, 0.5]]))
    weights = prior_weights(list(PRIOR), list(PRIOR.values()), parse_prior("uniform"))
    assert reweighted([0.0, 0.0, 1.0], weights) == pytest.approx(np.array([0.0, 0.0, 1.0]))


@pytest.mark.parametrize(
    "text", ["training", "balanced:0.5", "balanced:1", "happiness=0.3,neutral=0.6"]
)
def test_a_choice_reads_back_as_it_prints(text: str) -> None:
    assert str(parse_prior(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected training, balanced:TAU"),
        ("even", "expected training, balanced:TAU"),
        ("training photo.jpg", "expected training, balanced:TAU"),
        ("balanced", "expected training, balanced:TAU"),
        ("balanced:", r"a number in 0\.\.1, received ''"),
        ("balanced:1.5", r"a number in 0\.\.1, received '1\.5'"),
        ("balanced:nan", r"a number in 0\.\.1, received 'nan'"),
        ("fear=-0.1", r"a number in 0\.\.1, received '-0\.1'"),
        ("fear=0.7 neutral=0.6", r"a sum of 1\.3"),
        ("fear=0", "a sum of 0"),
        ("fear=0.1 fear=0.2", "received fear twice"),
    ],
)
def test_a_choice_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_prior(text)


def test_a_label_that_is_unknown_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown label 'happines'\. Nearest: happiness"):
        adjusted(ROW, PRIOR, parse_prior("happines=0.5"))
    with pytest.raises(ConfigError, match="unknown label 'photo"):
        adjusted(ROW, PRIOR, PriorChoice(), ["fear", "photo.jpg"])
    with pytest.raises(ConfigError, match="at least two, received fear"):
        adjusted(ROW, PRIOR, PriorChoice(), ["fear"])


def test_a_prior_is_needed_only_where_it_is_used() -> None:
    names = list(PRIOR)
    assert prior_weights(names, None, PriorChoice(), ["fear", "neutral"]).tolist() == [1, 0, 1]
    with pytest.raises(ConfigError, match="do not say how frequent each class was in training"):
        prior_weights(names, None, parse_prior("uniform"))
    with pytest.raises(ConfigError, match="no training target of fear"):
        prior_weights(names, [0.5, 0.5, 0.0], parse_prior("uniform"))
    weights = prior_weights(names, [0.5, 0.5, 0.0], parse_prior("uniform"), names[:2])
    assert weights.tolist() == [2, 2, 0]


def test_the_prior_of_a_manifest_is_read_in_the_order_asked_for() -> None:
    names = ["fear", "happiness", "neutral"]
    assert read_class_prior({"class_prior": PRIOR}, names, "x") == (0.04, 0.32, 0.64)
    assert read_class_prior({}, names, "x") is None


@pytest.mark.parametrize(
    "block",
    [
        [],
        {},
        {"fear": 1.0},
        {**PRIOR, "anger": 0.0},
        {**PRIOR, "fear": 0.3},
        {**PRIOR, "fear": "a"},
    ],
)
def test_a_prior_of_a_manifest_that_is_none_is_refused(block: Any) -> None:
    with pytest.raises(ModelFileError, match="class_prior: expected a share"):
        read_class_prior({"class_prior": block}, list(PRIOR), "manifest.json")


@pytest.mark.parametrize("name", ["ferplus", "ferplus_tiny", "fer2013"])
def test_a_shipped_model_has_its_prior_and_the_card_that_its_manifest_names(name: str) -> None:
    folder = Path(__file__).parents[2] / "saved_models" / name
    manifest = json.loads((folder / "manifest.json").read_text())
    prior = read_class_prior(manifest, manifest["class_names"], folder)
    assert prior is not None
    card = (folder / "card.md").read_bytes()
    assert hashlib.sha256(card).hexdigest() == manifest["files"]["card.md"]["sha256"]
    rarest = min(manifest["class_prior"].values())
    assert f"disgust {rarest:.1%}".encode() in card
