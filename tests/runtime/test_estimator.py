"""The recognizer among the tools of scikit-learn."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tiny_models import BRIGHT, DARK, LEFT, write_export

from fer_keras import predict
from fer_keras.common.errors import ConfigError, DataError
from fer_keras.runtime import Recognizer

CROPS = np.stack([BRIGHT, DARK, LEFT, BRIGHT])
LABELS = ["happiness", "sadness", "surprise", "sadness"]


@pytest.fixture
def recognizer(tmp_path: Path) -> Recognizer:
    return Recognizer(write_export(tmp_path / "export"), detector="none")


def test_score_is_the_accuracy(recognizer: Recognizer) -> None:
    assert recognizer.score(CROPS, LABELS) == 0.75
    assert recognizer.score(CROPS, LABELS) == accuracy_score(LABELS, recognizer.predict(CROPS))
    assert recognizer.score(CROPS, ["happy", "sad", "surprised", "joy"]) == 1.0
    with pytest.raises(DataError, match=r"does not have the label 'fear'.*neutral, happiness"):
        recognizer.score(CROPS[:1], ["fear"])
    with pytest.raises(DataError, match="4 pictures and 1 labels"):
        recognizer.score(CROPS, LABELS[:1])


def test_clones_and_parameters(recognizer: Recognizer) -> None:
    same = clone(recognizer)
    assert same is not recognizer
    assert same.get_params() == recognizer.get_params()
    # Every argument: a clone without the engine would run another one.
    assert set(recognizer.get_params()) == set(inspect.signature(Recognizer).parameters)
    assert same.score(CROPS, LABELS) == 0.75
    changed = recognizer.set_params(labels=("happiness", "sadness"))
    assert changed is recognizer
    assert set(recognizer.predict(CROPS)) == {"happiness", "sadness"}
    with pytest.raises(ConfigError, match=r"unknown argument 'modell'\. Nearest: model"):
        recognizer.set_params(modell="x")


def test_pipelines_and_cross_validation(recognizer: Recognizer) -> None:
    assert is_classifier(recognizer)
    flipped = FunctionTransformer(lambda crops: crops[:, :, ::-1])
    pipeline = make_pipeline(flipped, recognizer)
    assert list(pipeline.predict(CROPS[:2])) == LABELS[:2]
    assert pipeline.fit(CROPS, LABELS).score(CROPS[:2], LABELS[:2]) == 1.0
    twice = np.concatenate([CROPS, CROPS])
    scores = cross_val_score(recognizer, twice, np.array(LABELS * 2), cv=2)
    assert scores.mean() == 0.75


def test_pictures_of_a_generator(recognizer: Recognizer, tmp_path: Path) -> None:
    assert list(recognizer.predict(crop for crop in CROPS)) == list(recognizer.predict(CROPS))
    table = recognizer.recognize_many(crop for crop in CROPS)
    assert len(table) == 4


@pytest.mark.parametrize("url", ["https://example.org/a.jpg", "ftp://x/a.jpg", "data:image/png,x"])
def test_an_address_is_refused_as_one(recognizer: Recognizer, url: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"received an address\. Nothing is fetched"):
        recognizer.recognize(url)
    with pytest.raises(DataError, match="received an address"):
        recognizer.predict_proba([url])
    if url.startswith("https"):
        with pytest.raises(DataError, match=f"received an address.*: {url}$"):
            predict.main([url, "--model", str(tmp_path / "export")])
