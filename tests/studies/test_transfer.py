"""The transfer study: what is trained from what, and classes that one side does not know."""

import argparse
import csv
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.config import load_experiment, override
from fer_keras.data.samples import Samples, one_hot
from fer_keras.loading.classifier import in_channels
from fer_keras.loading.keras_files import save_network
from fer_keras.models.layers import with_class_names
from fer_keras.runtime.pictures import with_channels
from fer_keras.studies import transfer
from fer_keras.studies.shared.trained_rows import Outcome, Row


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    transfer.add_arguments(parser)
    return parser.parse_args(["--no-mlflow", *words])


def test_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: dict[str, Row] = {}

    def train(row: Row, run_dir: Path, seed: int, **_: Any) -> Outcome:
        override(load_experiment(row.experiment), row.changes)
        trained[run_dir.name] = row
        return Outcome(
            row, run_dir, {"accuracy": 0.8, "balanced_accuracy": 0.6, "n": 100}, {}, {}, ""
        )

    def score(source: Path, target: Path, split: str) -> transfer.Score:
        return transfer.Score(0.7 if source == target else 0.4, 0.5, 100)

    monkeypatch.setattr(transfer, "train_row", train)
    monkeypatch.setattr(transfer, "score", score)
    out = tmp_path / "out"
    words = ("--datasets", "ferplus", "rafdb", "--epochs", "2", "--output", str(out))
    text = transfer.run(arguments(*words))
    assert list(trained) == ["ferplus", "rafdb", "ferplus-to-rafdb", "rafdb-to-ferplus"]
    assert "dataset.label_rule=hard" in trained["rafdb"].changes
    tuned = trained["ferplus-to-rafdb"].changes
    assert tuned[-2:] == (f"network.weights={out / 'ferplus'}", "training.epochs=3")
    assert "dataset.name=rafdb" in tuned
    zero_shot, fine = text.split("Fine-tuned, 3 epochs:")
    assert zero_shot.count("0.4000 [") == 2
    assert fine.count("0.8000 [0.7112, 0.8666], 0.6000") == 2
    assert fine.count("0.7000 [") == 2
    with (out / "transfer.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 8
    assert (out / "transfer.png").stat().st_size > 1000
    trained.clear()
    words = ("--datasets", "ferplus", "rafdb", "--runs", "a", "b", "--fine-tune-epochs", "0")
    assert "Fine-tuned" not in transfer.run(arguments(*words, "--output", str(out)))
    assert not trained


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--datasets", "ferplus"), "two or more"),
        (("--datasets", "ferplus", "ferplus"), "two or more"),
        (("--datasets", "ferplus", "rafdb", "--runs", "a"), "--runs: expected 2"),
    ],
)
def test_wrong_options(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        transfer.run(arguments(*words))


def test_classes_are_matched_by_name_and_unknown_ones_count_as_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Bright is happiness, dark sadness. The network knows no contempt, the data no surprise.
    image = keras.Input((4, 4, 3))
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    dense = keras.layers.Dense(3)
    network = keras.Model(image, {"logits": dense(mean)})
    kernel = np.array([[-9, 5, 0]] * 3, np.float32)
    dense.set_weights([kernel, np.array([8, 0, 99], np.float32)])
    save_network(
        with_class_names(network, ("sadness", "happiness", "surprise")), tmp_path / "best.keras"
    )
    labels = np.array([0, 0, 1, 1, 2])
    grey = np.where(labels == 1, 5, 250).astype(np.uint8)
    samples = Samples(
        "target", "validation", ("happiness", "sadness", "contempt"), "hard",
        np.tile(grey[:, None, None, None], (1, 4, 4, 1)), one_hot(labels, 3),
        {"source": np.arange(5).astype(str), "sha256": np.arange(5).astype(str)},
    )  # fmt: skip
    monkeypatch.setattr(transfer, "run_samples", lambda *_: (samples, samples))
    assert transfer.score(tmp_path / "best.keras", tmp_path, "validation") == (
        0.8, pytest.approx((1 + 1 + 0) / 3), 5
    )  # fmt: skip


def test_pictures_are_grey_by_the_weights_of_the_runtime() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (3, 8, 9, 3), dtype=np.uint8)
    expected = np.stack([with_channels(picture, 1) for picture in colour])
    np.testing.assert_array_equal(in_channels(colour[:, ::-1, ::-1], 1)[:, ::-1, ::-1], expected)
    assert in_channels(colour, 3) is colour
    np.testing.assert_array_equal(in_channels(expected, 3), expected.repeat(3, axis=3))
