"""The study of wrong labels: what it trains, what it finds in a network, what it writes."""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.config import load_experiment, override
from fer_keras.data import splits as splits_module
from fer_keras.data.label_noise import with_label_noise
from fer_keras.data.samples import Samples, one_hot
from fer_keras.studies import label_noise
from fer_keras.studies.label_noise import rows, write_report
from fer_keras.studies.label_noise.findings import Findings, auroc, correlations, map_agreement
from fer_keras.studies.shared.trained_rows import Outcome, Row

NAMES = ("neutral", "happiness", "anger")
TINY = (
    "--set", "dataset.image_size=16", "--set", "network.options.widths=[8]",
    "--set", "network.options.depths=[1]", "--set", "network.options.stem_filters=4",
    "--set", "augmentation=none", "--set", "training.batch_size=16",
)  # fmt: skip


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    label_noise.add_arguments(parser)
    return parser.parse_args(list(words))


def test_every_row_is_a_training_and_only_its_labels_are_noisy() -> None:
    planned = rows(arguments("--noise", "20", "0", "--epochs", "3"))
    assert list(planned) == [f"{name}_{share}" for share in (0, 20) for name in label_noise.METHODS]
    for name, row in planned.items():
        experiment = override(load_experiment(row.experiment), row.changes)
        assert experiment.dataset.label_noise == (0.2 if name.endswith("_20") else 0.0)
        assert experiment.dataset.name == "ferplus"
        assert experiment.training.epochs == 3
    assert {name for name, row in planned.items() if row.published} == {"attention_consistency_0"}
    assert not any(row.published for row in rows(arguments("--dataset", "rafdb")).values())
    with pytest.raises(ConfigError, match="--noise"):
        label_noise.run(arguments("--noise", "100"))


def test_correlations_and_auroc() -> None:
    ramp = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    maps = np.concatenate([ramp, ramp, ramp])
    others = np.concatenate([2 * ramp + 3, 5 - ramp, np.ones_like(ramp)])
    np.testing.assert_allclose(correlations(maps, others), [1, -1, np.nan], atol=1e-6)
    assert auroc([1, 2], [3, 4]) == 1
    assert auroc([3, 4], [1, 2]) == 0
    assert auroc([1, 2], [1, 2]) == 0.5
    assert auroc([], [1]) is None


def test_maps_that_stay_agree_less_than_maps_that_turn_with_the_picture() -> None:
    class Turning:
        """Its map is the picture, whichever way it is turned."""

        def answers(self, images: Any) -> Any:
            return np.zeros(len(images), np.int64)

        def maps(self, images: Any, classes: Any) -> dict[str, Any]:
            return {"Grad-CAM": images[..., 0].astype(np.float32)}

    class Staying(Turning):
        """Its map is high on the left, whatever the picture shows."""

        def maps(self, images: Any, classes: Any) -> dict[str, Any]:
            return {"Grad-CAM": np.tile(np.array([2, 1, 0], np.float32), (len(images), 3, 1))}

    images = np.random.default_rng(0).integers(0, 256, (5, 3, 3, 1), np.uint8)
    assert map_agreement(Turning(), images) == pytest.approx(1)
    assert map_agreement(Staying(), images) == pytest.approx(-1)


def make_samples(split: str, n: int) -> Samples:
    """Three classes by brightness."""
    rng = np.random.default_rng(len(split))
    labels = np.arange(n) % 3
    images = np.clip(rng.normal(60 + 60 * labels[:, None, None, None], 20, (n, 16, 16, 1)), 0, 255)
    facts = {
        "source": np.array([f"{split}:{i}" for i in range(n)]),
        "sha256": np.array([f"{split}{i:060d}" for i in range(n)]),
        "subject": np.array([""] * n),
    }
    targets = one_hot(labels, 3)
    return Samples("synthetic_faces", split, NAMES, "hard", images.astype(np.uint8), targets, facts)


def test_the_study_trains_writes_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Path, eager: None, undrawn: None
) -> None:
    import mlflow

    def load(config: Any, seed: int) -> tuple[Samples, Samples, Samples]:
        train = make_samples("train", 48)
        noisy = with_label_noise(train, config.label_noise, seed) if config.label_noise else train
        return noisy, make_samples("validation", 12), train

    monkeypatch.setattr(splits_module, "load_splits", load)
    monkeypatch.setattr(label_noise, "_DRAWN", 16)
    given = arguments(
        "--dataset", "synthetic_faces", "--noise", "25", "--methods", "cross_entropy",
        "relative_uncertainty", "--epochs", "1", "--sheet", "--output", str(tmp_path / "out"),
        *TINY,
    )  # fmt: skip
    text = label_noise.run(given)
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "cross_entropy_25-seed0", "relative_uncertainty_25-seed0", "faces_drawn.png",
        "faces_synthetic_faces.png", "label_noise.csv", "label_noise.md", "label_noise.png",
        "mlflow_run_id.txt", "uncertainty.png", "wrong_labels.png",
    }  # fmt: skip
    found = json.loads((out / "relative_uncertainty_25-seed0" / "label_noise.json").read_text())
    assert found["wrong_labels"] == 12
    assert 0 <= found["given"] + found["true"] <= 1
    counts = {name: len(values) for name, values in found["uncertainties"].items()}
    assert (counts["right_label"], counts["wrong_label"]) == (36, 12)
    assert counts["right_answer"] + counts["wrong_answer"] == 12
    with (out / "label_noise.csv").open(newline="") as stream:
        records = list(csv.DictReader(stream))
    assert [record["method"] for record in records] == ["cross_entropy", "relative_uncertainty"]
    assert "RUL, 25 %" in text

    client = mlflow.MlflowClient()
    parent = (out / "mlflow_run_id.txt").read_text().strip()
    experiment = client.get_experiment_by_name("synthetic_faces")
    runs = client.search_runs([experiment.experiment_id])
    nested = [each for each in runs if each.data.tags.get("mlflow.parentRunId") == parent]
    assert len(nested) == 2
    history = client.get_metric_history(parent, "accuracy_cross_entropy")
    assert [metric.step for metric in history] == [25]

    # Again: nothing is trained, and nothing is looked at anew.
    for name in ("training.stages.run_stages.run_stages", "studies.shared.maps.Explainer"):
        monkeypatch.setattr(f"fer_keras.{name}", None)
    assert label_noise.run(given) == text


def test_several_seeds_and_what_is_not_known(tmp_path: Path) -> None:
    figures = {
        "accuracy": 0.5, "balanced_accuracy": 0.4, "n": 10, "dataset": "x", "split": "validation",
        "label_rule": "hard",
    }  # fmt: skip
    training = {"epochs": 2, "training_minutes": 1.0}
    right = {str(i): i < 5 for i in range(10)}
    outcome = Outcome(Row("cross-entropy, 0 %", "cross_entropy"), tmp_path, figures, training,
                      right, "train")  # fmt: skip
    better = Outcome(outcome.row, tmp_path, {**figures, "accuracy": 0.7}, training, right, "train")
    found = Findings("", "validation", 0.45, 0, None, None, None, None)
    text = write_report(
        tmp_path, {"cross_entropy_0": [outcome, better]}, {"cross_entropy_0": [found, found]}
    )
    assert "0.6000 ± 0.1414" in text
    assert " 0.4500 |" in text
    assert not (tmp_path / "wrong_labels.png").exists()
