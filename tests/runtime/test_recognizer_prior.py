"""A recognizer with a prior or labels of the user's own, from the class prior of its manifest."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_models import BRIGHT, CLASS_NAMES, MIDDLE, write_export

from fer_keras import camera, predict
from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.runtime import Recognizer
from fer_keras.runtime.decision import Decision

PRIOR = dict(zip(CLASS_NAMES, (0.64, 0.16, 0.16, 0.04), strict=True))
BY_TAU = {
    f"{tau:g}": {"reject_threshold": reject, "conformal_threshold": conformal}
    for tau, reject, conformal in ((0, 0.8, 0.3), (0.4, 0.7, 0.25), (1, 0.6, 0.2))
}
DECISION = {"reject_threshold": 0.99, "conformal_threshold": 0.01}


@pytest.fixture
def export(tmp_path: Path) -> Path:
    return write_export(tmp_path / "a", extra={"class_prior": PRIOR, "decision": DECISION})


def test_the_probabilities_are_for_the_prior_that_is_chosen(export: Path) -> None:
    plain = Recognizer(export).predict_proba(MIDDLE[None])[0]
    for prior, tau in (("balanced:0.5", 0.5), ("uniform", 1.0)):
        weighted = plain / np.array(list(PRIOR.values())) ** tau
        given = Recognizer(export, prior=prior).predict_proba(MIDDLE[None])[0]
        assert given == pytest.approx(weighted / weighted.sum(), abs=1e-6)
        assert given.dtype == np.float32
    same = Recognizer(export, prior=PRIOR).predict_proba(MIDDLE[None])[0]
    assert same == pytest.approx(plain, abs=1e-6)


def test_labels_that_are_left_out_have_the_probability_zero(export: Path) -> None:
    plain = Recognizer(export, detector="none").recognize(MIDDLE)[0]["emotions"]
    kept = CLASS_NAMES[2:]
    (face,) = Recognizer(export, detector="none", labels=kept).recognize(MIDDLE)
    total = sum(plain[name] for name in kept)
    for name in CLASS_NAMES:
        share = plain[name] / total if name in kept else 0
        assert face["emotions"][name] == pytest.approx(share, abs=1e-6)
    assert face["dominant"] in kept


def test_thresholds_are_those_of_the_model_s_own_answers_alone(export: Path) -> None:
    own = Recognizer(export, detector="none")
    assert own.recognize(MIDDLE)[0]["unsure"]
    assert own.notes == ()
    for chosen in ({"prior": "uniform"}, {"labels": CLASS_NAMES[:2]}):
        recognizer = Recognizer(export, detector="none", **chosen)  # type: ignore[arg-type]
        (face,) = recognizer.recognize(MIDDLE)
        assert (face["unsure"], face["label_set"]) == (False, [face["dominant"]])
        assert recognizer.decision == Decision()
        assert "thresholds of the model" in recognizer.notes[0]


def _with_default(folder: Path, **decision: object) -> Path:
    block = {**DECISION, "prior": "balanced:0.5", "by_tau": BY_TAU, **decision}
    extra = {"class_prior": PRIOR, "default_prior": "balanced:0.5", "decision": block}
    return write_export(folder, extra=extra)


def test_the_manifest_s_prior_is_the_default_and_training_the_model_as_it_is(
    export: Path, tmp_path: Path
) -> None:
    folder = _with_default(tmp_path / "b")
    own, asked = Recognizer(export), Recognizer(export, prior="balanced:0.5")
    default, plain = Recognizer(folder), Recognizer(folder, prior="training")
    for recognizer, same in ((default, asked), (plain, own)):
        given = recognizer.predict_proba(MIDDLE[None])
        np.testing.assert_array_equal(given, same.predict_proba(MIDDLE[None]))
    assert (default.prior, plain.prior, own.prior) == ("balanced:0.5", "training", "training")
    assert (default.notes, plain.notes) == ((), ())


def test_thresholds_are_those_of_the_prior(tmp_path: Path) -> None:
    folder = _with_default(tmp_path / "b")
    expected = {
        None: Decision(0.99, 0.01),
        "balanced:0.5": Decision(0.99, 0.01),
        "training": Decision(0.8, 0.3),
        "uniform": Decision(0.6, 0.2),
        # Between two that were fitted: the more careful of both.
        "balanced:0.3": Decision(0.8, 0.25),
    }
    for prior, decision in expected.items():
        assert Recognizer(folder, prior=prior).decision == decision
    shares = Recognizer(folder, prior={CLASS_NAMES[0]: 0.5})
    assert shares.decision == Decision()
    assert "thresholds of the model" in shares.notes[0]


def test_a_damaged_default_is_refused(tmp_path: Path) -> None:
    for number, value in enumerate(("balanced:2", 0.5, "")):
        extra = {"class_prior": PRIOR, "default_prior": value}
        folder = write_export(tmp_path / str(number), extra=extra)
        with pytest.raises(ModelFileError, match=r"default_prior: prior: expected.*Export the"):
            Recognizer(folder)
    folder = _with_default(tmp_path / "b", by_tau={"0": {"reject_threshold": 2}})
    with pytest.raises(ModelFileError, match=r"decision.by_tau.0.reject_threshold: expected a num"):
        Recognizer(folder, prior="training")


def test_a_manifest_without_a_prior_is_one_clear_error(tmp_path: Path) -> None:
    folder = write_export(tmp_path)
    Recognizer(folder, labels=CLASS_NAMES[:2])
    message = r"prior balanced:0.5: the model's files do not say how frequent.*tflite"
    with pytest.raises(ConfigError, match=message):
        Recognizer(folder, prior="balanced:0.5")


def test_a_damaged_prior_and_labels_of_others_are_refused(export: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown label 'boredom'"):
        Recognizer(export, labels=["boredom", CLASS_NAMES[0]])
    folder = write_export(tmp_path / "b", extra={"class_prior": {"anger": 1.0}})
    with pytest.raises(ModelFileError, match="class_prior: expected a share"):
        Recognizer(folder)


def test_the_commands_take_both(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from fer_keras.common.opencv import cv2

    picture = tmp_path / "face.png"
    cv2.imwrite(str(picture), BRIGHT)
    own, given = tmp_path / "own.jsonl", tmp_path / "given.jsonl"
    common = [str(picture), "--model", str(export), "--detector", "none"]
    assert predict.main([*common, "--output", str(own)]) == 0
    assert "note:" not in capsys.readouterr().err
    options = ["--labels", f"{CLASS_NAMES[0]},{CLASS_NAMES[3]}", "--prior", "uniform"]
    assert predict.main([*common, "--output", str(given), *options]) == 0
    assert "note: the thresholds of the model" in capsys.readouterr().err
    rows = [json.loads(path.read_text().splitlines()[0]) for path in (own, given)]
    assert rows[0] != rows[1]
    assert f'"{CLASS_NAMES[1]}": 0.0' in given.read_text()

    frames = tmp_path / "frames"
    frames.mkdir()
    picture.rename(frames / "1.png")
    source = ["--source", str(frames), "--model", str(export), "--detector", "none", "--no-window"]
    output = tmp_path / "camera.jsonl"
    assert camera.main([*source, "--output", str(output), *options]) == 0
    assert f'"{CLASS_NAMES[1]}": 0.0' in output.read_text()
