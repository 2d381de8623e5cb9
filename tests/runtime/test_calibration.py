"""Thresholds of a model: unsure answers, label sets, and manifests that do not make sense."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import BRIGHT, MIDDLE, write_export

from fer_keras.common.errors import ModelFileError
from fer_keras.runtime import Recognizer
from fer_keras.runtime.decision import Decision
from fer_keras.runtime.faces import Face

FACE = Face((0, 0, 24, 24), None, 1.0)


def export(folder: Path, **decision: Any) -> Path:
    return write_export(folder, extra={"decision": decision})


def test_the_thresholds_of_the_folder_are_used(tmp_path: Path) -> None:
    recognizer = Recognizer(
        export(tmp_path, reject_threshold=0.6, conformal_threshold=0.2), detector="none"
    )
    face = recognizer.result(FACE, np.array([0.25, 0.45, 0.1, 0.2]))
    assert (face["dominant"], face["unsure"]) == ("happiness", True)
    assert face["label_set"] == ["happiness", "neutral", "sadness"]
    assert face["track"] is None
    face = recognizer.result(FACE, np.array([0.1, 0.1, 0.2, 0.6], np.float64), track=7)
    assert (face["dominant"], face["unsure"], face["track"]) == ("sadness", False, 7)
    assert face["label_set"] == ["sadness", "surprise"]
    assert recognizer.recognize(BRIGHT)[0]["label_set"] == ["happiness"]
    json.dumps(face)


def test_a_model_without_thresholds_is_always_sure(tmp_path: Path) -> None:
    recognizer = Recognizer(write_export(tmp_path), detector="none")
    (face,) = recognizer.recognize(MIDDLE)
    assert (face["unsure"], face["label_set"]) == (False, [face["dominant"]])


def test_the_set_is_never_empty_and_begins_with_the_dominant_label() -> None:
    assert Decision(0.0, 0.9).label_set([0.3, 0.4, 0.3]) == [1]
    assert Decision(0.0, 0.0).label_set([0.3, 0.4, 0.3]) == [1, 0, 2]
    assert Decision(0.0, 0.4).label_set([0.2, 0.4, 0.4]) == [1, 2]
    assert Decision().label_set([0.0, 1.0, 0.0]) == [1]
    # By class: the dominant label is in it whatever its own threshold.
    assert Decision(0.0, 0.5, (0.1, 0.9, 0.3)).label_set([0.2, 0.5, 0.3]) == [1, 2, 0]
    assert Decision(0.0, 0.0, (0.1, 0.9, 0.35)).label_set([0.2, 0.5, 0.3]) == [1, 0]


def test_a_label_has_its_own_threshold(tmp_path: Path) -> None:
    by_class = {"surprise": 0.05, "neutral": 0.5, "sadness": 0.1, "happiness": 0.2}
    decision = {"reject_threshold": 0.6, "conformal_threshold": 0.2, "conformal_by_class": by_class}
    recognizer = Recognizer(export(tmp_path / "a", **decision), detector="none")
    face = recognizer.result(FACE, np.array([0.25, 0.45, 0.1, 0.2]))
    assert face["label_set"] == ["happiness", "sadness", "surprise"]
    del by_class["sadness"]
    with pytest.raises(ModelFileError, match=r"decision\.conformal_by_class\.sadness: .*None"):
        Recognizer(export(tmp_path / "b", **decision))


@pytest.mark.parametrize("value", [None, "0.5", True, -0.1, 1.1, math.nan, math.inf, [0.5]])
@pytest.mark.parametrize("key", ["reject_threshold", "conformal_threshold"])
def test_a_threshold_that_is_none_is_refused_by_name(tmp_path: Path, key: str, value: Any) -> None:
    block = {"reject_threshold": 0.5, "conformal_threshold": 0.1, key: value}
    with pytest.raises(ModelFileError, match=rf"decision\.{key}: expected a number in 0\.\.1"):
        Recognizer(export(tmp_path, **block))


@pytest.mark.parametrize("block", [None, [], "none", 0.5])
def test_a_decision_that_is_no_object_is_refused(tmp_path: Path, block: Any) -> None:
    with pytest.raises(ModelFileError, match="decision: expected an object"):
        Recognizer(write_export(tmp_path, extra={"decision": block}))


def test_a_missing_threshold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"decision\.conformal_threshold.*received None"):
        Recognizer(export(tmp_path, reject_threshold=0.5))
