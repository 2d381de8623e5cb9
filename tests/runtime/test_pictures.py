"""A network that has seen grey pictures alone gets no colour, whatever it is given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models

from fer_keras.common.decode import resize
from fer_keras.common.errors import ModelFileError
from fer_keras.common.opencv import cv2
from fer_keras.loading.classifier import LoadedModel
from fer_keras.loading.load import load_model
from fer_keras.runtime.pictures import PictureRule, picture_rule_of, read_picture_rule
from fer_keras.runtime.recognizer import Recognizer

HERE = Path("manifest.json")


def photo(side: int = 60) -> np.ndarray:
    """Something with a tint like skin."""
    light = np.random.default_rng(0).uniform(0.3, 1, (side, side, 1))
    return (light * [224, 172, 140]).astype(np.uint8)


def is_grey(pixels: np.ndarray) -> bool:
    return bool((pixels == pixels[..., :1]).all())


def received(folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """What the network of an export gets of the photo."""
    recognizer = Recognizer(folder, detector="none")
    crops: list[Any] = []
    run = recognizer._network.read

    def probabilities(given: Any) -> Any:
        crops.extend(given)
        return run(given)

    monkeypatch.setattr(recognizer._network, "read", probabilities)
    recognizer.recognize(photo())
    recognizer.predict_proba([photo()])
    np.testing.assert_array_equal(crops[0], crops[1])
    return np.asarray(crops[0])


@pytest.mark.parametrize(
    ("extra", "grey"),
    [
        ({"pictures": {"colour": "grey", "enlarge": "cubic"}}, True),
        ({"pictures": {"colour": "colour", "enlarge": "linear"}}, False),
        # Older manifests: the data set says it.
        ({"dataset": "ferplus"}, True),
        ({"dataset": "rafdb"}, False),
    ],
)
def test_a_photo(
    extra: dict[str, Any], grey: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_models.write_export(tmp_path / "export", 3, extra)
    crop = received(folder, monkeypatch)
    assert is_grey(crop) is grey
    if grey:
        small = resize(photo(), crop.shape[0])
        np.testing.assert_array_equal(crop[..., 0], cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
    # Evaluation and comparison do the same.
    assert load_model(folder).pictures.is_grey is grey


def test_a_loaded_model_gets_no_colour() -> None:
    given: list[np.ndarray] = []

    def run(images: np.ndarray) -> np.ndarray:
        given.append(images)
        return np.zeros((len(images), 2), np.float32)

    pictures = np.stack([photo(8), photo(8)])
    for rule, grey in ((PictureRule(True), True), (PictureRule(), False)):
        model = LoadedModel(
            Path("a"), "keras", ("a", "b"), (8, 8, 3), "", 1.0, {}, run, pictures=rule
        )
        model.logits(pictures)
        assert is_grey(given[-1]) is grey


def test_what_is_grey_stays_bit_by_bit() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, axis=-1)
    np.testing.assert_array_equal(PictureRule(True).applied(grey), grey)
    assert picture_rule_of(grey) == PictureRule(True)
    assert picture_rule_of(photo()[np.newaxis]) == PictureRule()
    assert picture_rule_of(grey[..., :1]) == PictureRule()


def test_the_record_is_read_again_or_refused() -> None:
    for rule in (PictureRule(True, "linear"), PictureRule()):
        assert read_picture_rule({"pictures": rule.record()}, HERE) == rule
    for stated in ("grey", {"colour": "green"}, {"colour": "grey", "enlarge": "sinc"}):
        with pytest.raises(ModelFileError, match=r"pictures: expected .*manifest\.json"):
            read_picture_rule({"pictures": stated}, HERE)


def test_linear_growth_is_opencvs() -> None:
    small = photo(12)
    expected = cv2.resize(small, (30, 30), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resize(small, 30, "linear"), expected)
    assert (resize(small, 30) != expected).any()
    np.testing.assert_array_equal(resize(small, 6, "linear"), resize(small, 6))
