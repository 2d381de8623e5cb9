"""Names are matched by meaning, never by position."""

import pytest

from fer_keras.common.errors import DataError
from fer_keras.common.labels import EMOTIONS, canonical, name_mapping


@pytest.mark.parametrize(
    ("spelling", "emotion"),
    [("Happy", "happiness"), (" angry ", "anger"), ("fearful", "fear"), ("Contempt", "contempt")],
)
def test_spellings(spelling: str, emotion: str) -> None:
    assert canonical(spelling) == emotion


def test_every_emotion_is_its_own_name() -> None:
    assert [canonical(name) for name in EMOTIONS] == list(EMOTIONS)


def test_unknown_name_lists_near_ones() -> None:
    with pytest.raises(DataError, match="sadness"):
        canonical("saddness")


def test_mapping_reorders_by_name() -> None:
    model = ("Angry", "Happy", "Neutral")
    mapping = name_mapping(model, ("neutral", "anger", "happiness"))
    assert [model[index] for index in mapping] == ["Neutral", "Angry", "Happy"]


def test_mapping_allows_classes_the_data_lacks() -> None:
    assert name_mapping(("neutral", "contempt", "anger"), ("anger", "neutral")) == (2, 0)


def test_missing_class_shows_both_lists() -> None:
    with pytest.raises(DataError, match=r"contempt missing.*neutral, contempt.*neutral, anger"):
        name_mapping(("neutral", "angry"), ("neutral", "contempt"))


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(DataError, match="twice"):
        name_mapping(("happy", "happiness"), ("happiness",))


def test_classes_of_ones_own_are_matched_by_their_words() -> None:
    assert name_mapping(("happy", "Drowsy", "bored"), ("bored", "drowsy")) == (2, 1)
    with pytest.raises(DataError, match=r"circle missing.*Received \(model\): happiness, bored"):
        name_mapping(("happy", "bored"), ("circle", "bored"))
