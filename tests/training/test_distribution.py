"""What several devices need and refuse; two real devices and processes are in slow/."""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import fer_keras.data.splits as splits_module
from fer_keras.common.errors import ConfigError
from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig
from fer_keras.data.samples import Samples, one_hot
from fer_keras.methods import build_method
from fer_keras.train import main
from fer_keras.training.distribution import ONE_DEVICE, Distribution, one_run
from fer_keras.training.run import run

NAMES = ("neutral", "happiness", "anger")


def make_samples(split: str, n: int) -> Samples:
    labels = np.arange(n) % 3
    images = np.full((n, 16, 16, 1), 80, np.uint8) * (1 + labels[:, None, None, None])
    columns = {name: np.array([f"{split}{i}" for i in range(n)]) for name in ("source", "sha256")}
    columns["subject"] = np.array([""] * n)
    targets = one_hot(labels, 3)
    return Samples(
        "synthetic_faces", split, NAMES, "hard", images.astype("uint8"), targets, columns
    )


@pytest.mark.parametrize(
    ("backend", "distribution", "message"),
    [
        ("torch", Distribution(2), "no data parallelism for PyTorch"),
        ("tensorflow", Distribution(1, "host:1", 2, 0), "need --backend jax"),
        ("torch", Distribution(1, "host:1", 2, 0), "need --backend jax"),
        ("jax", Distribution(1, "host:1", 2, 2), "Received: 2 of 2"),
        ("jax", Distribution(1, "", 2, 0), "--coordinator HOST:PORT together"),
        ("jax", Distribution(1, "host:1", 1, 0), "--coordinator HOST:PORT together"),
        ("jax", Distribution(3, "host:1", 2, 0), r"multiple of 6\. Received: 64"),
        ("jax", Distribution(0), "--devices: expected at least 1"),
    ],
)
def test_refusals(
    backend: str, distribution: Distribution, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    with pytest.raises(ConfigError, match=message):
        distribution.start(TrainingConfig(batch_size=64), seed=0)


def test_tf_config_is_refused_on_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}}')
    with pytest.raises(ConfigError, match="MultiWorkerMirroredStrategy"):
        ONE_DEVICE.start(TrainingConfig(), seed=0)
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1"]}}')
    ONE_DEVICE.start(TrainingConfig(), seed=0)


def test_several_devices_are_for_one_run(tmp_path: Path) -> None:
    folds = Experiment("x", dataset=DatasetConfig(split="folds", fold=-1))
    with pytest.raises(ConfigError, match="cross-validation"):
        one_run(folds, tmp_path)
    with pytest.raises(ConfigError, match="--run-dir"):
        one_run(Experiment("x"), None)
    with pytest.raises(ConfigError, match="--run-dir"):
        main(["--exp", "word2vec", "--devices", "2", "--set", "dataset.name=synthetic_faces"])


def test_weight_nothing_counts_for_nothing() -> None:
    samples = make_samples("train", 6)
    image = keras.Input((16, 16, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    network = keras.Model(image, {"logits": keras.layers.Dense(3)(flat)})
    method = build_method("cross_entropy", network, NAMES)
    method.compile(optimizer="sgd", jit_compile=False)
    four = method.test_on_batch(samples.images[:4], samples.targets[:4], return_dict=True)
    method.reset_metrics()
    weights = np.array([1, 1, 1, 1, 0, 0], np.float32)
    padded = method.test_on_batch(
        samples.images, samples.targets, sample_weight=weights, return_dict=True
    )
    assert padded["accuracy"] == pytest.approx(four["accuracy"])
    assert padded["loss"] == pytest.approx(four["loss"], rel=1e-6)


@dataclasses.dataclass(frozen=True)
class Second(Distribution):
    """The part of a second process, whose first is not there."""

    @property
    def writes(self) -> bool:
        return False


def test_only_one_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, validation = make_samples("train", 16), make_samples("validation", 6)
    monkeypatch.setattr(splits_module, "load_splits", lambda *_: (train, validation, train))
    monkeypatch.chdir(tmp_path)
    seen: list[Any] = []
    experiment = Experiment(
        name="tiny",
        network=NetworkConfig("compact", {"stem_filters": 4, "widths": [8], "depths": [1]}),
        training=TrainingConfig(epochs=1, batch_size=8, checkpoint_minutes=0.0),
    )
    assert run(experiment, tmp_path / "run", distribution=Second(), on_epoch=seen.append) == {}
    assert [row["epoch"] for row in seen] == [1]
    assert list(tmp_path.iterdir()) == []
