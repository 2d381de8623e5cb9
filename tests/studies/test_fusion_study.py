"""The fusion study: what each rule does, honest fitting, and the files."""

import csv
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.common.metrics import softmax
from fer_keras.common.opencv import cv2
from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, to_json
from fer_keras.data.samples import Samples, one_hot
from fer_keras.loading.keras_files import save_network
from fer_keras.loading.load import load_model
from fer_keras.models import build_network
from fer_keras.models.fusion import SMALL
from fer_keras.models.layers import with_class_names
from fer_keras.studies.fusion.rules import RULES, apply, cross_fit, fit
from fer_keras.study import main

CLASS_NAMES = ("anger", "disgust", "fear")
RNG = np.random.default_rng


def _samples(n: int, labels: np.ndarray) -> Samples:
    facts = {
        "source": np.array([f"p{i}" for i in range(n)]),
        "sha256": np.array([f"h{i}" for i in range(n)]),
        "subject": np.array([""] * n),
    }
    images = np.zeros((n, 4, 4, 1), np.uint8)
    return Samples("made", "validation", CLASS_NAMES, "hard", images, one_hot(labels, 3), facts)


def _logits(n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """A base that is right more often than not, and one that takes each class for the next."""
    labels = RNG(0).integers(0, 3, n)
    good = RNG(1).normal(size=(n, 3)) + 1.5 * np.eye(3)[labels]
    shifted = RNG(2).normal(size=(n, 3)) + 3 * np.eye(3)[(labels + 1) % 3]
    return np.stack([good, shifted], axis=1), labels


def _accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())


def test_averages() -> None:
    logits, _ = _logits(5)
    np.testing.assert_allclose(apply("mean_logits", logits, None), softmax(logits.mean(axis=1)))
    np.testing.assert_allclose(
        apply("mean_probabilities", logits, None), softmax(logits).mean(axis=1)
    )
    assert fit("mean_logits", logits, np.eye(3)[[0] * 5]) is None


@pytest.mark.parametrize("rule", ["linear", "stacking"])
def test_a_layer_learns_that_a_base_mixes_up_the_classes(rule: str) -> None:
    logits, labels = _logits()
    samples = _samples(len(labels), labels)
    fitted = _accuracy(cross_fit(rule, logits, samples, 5), labels)
    assert _accuracy(softmax(logits[:, 0]), labels) < 0.85
    assert _accuracy(apply("mean_logits", logits, None), labels) < 0.6
    assert fitted > 0.93


@pytest.mark.parametrize("rule", ["linear", "stacking"])
def test_no_picture_helps_to_judge_itself(rule: str) -> None:
    """On answers without any information a layer that saw the pictures is right too often."""
    labels = RNG(3).integers(0, 3, 60)
    logits = RNG(4).normal(size=(60, 6, 3)) * 5
    samples = _samples(60, labels)
    assert _accuracy(cross_fit(rule, logits, samples, 5), labels) < 0.55
    turned = samples.take(np.arange(60)[::-1])
    apart = cross_fit(rule, logits, samples, 5)
    assert np.isfinite(apart).all()
    assert len(turned) == 60
    np.testing.assert_allclose(apart.sum(axis=1), 1)


def test_where_bases_need_no_weights_the_linear_layer_stays_near_the_mean() -> None:
    labels = RNG(5).integers(0, 3, 300)
    logits = np.repeat(RNG(6).normal(size=(300, 1, 3)) + 2 * np.eye(3)[labels][:, None], 2, axis=1)
    linear = cross_fit("linear", logits, _samples(300, labels), 5)
    mean = apply("mean_logits", logits, None)
    assert (linear.argmax(axis=1) == mean.argmax(axis=1)).mean() > 0.95


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two untrained run folders on the same nine pictures a split."""
    keras.utils.set_random_seed(1)
    root = tmp_path_factory.mktemp("fusion")
    for split in ("train", "validation", "test"):
        for number, emotion in enumerate(CLASS_NAMES):
            folder = root / "pictures" / split / emotion
            folder.mkdir(parents=True)
            for copy in range(3):
                picture = RNG([number, copy, len(split)]).integers(0, 256, (18, 18), np.uint8)
                assert cv2.imwrite(str(folder / f"{copy}.png"), picture)
    folders = []
    for name, side in (("first", 16), ("second", 12)):
        options = SMALL["bases"][0]["options"]
        network = with_class_names(
            build_network("compact", (side, side, 1), 3, **options), CLASS_NAMES
        )
        kernel = network.get_layer("logits").kernel
        kernel.assign(RNG(side).normal(size=kernel.shape) * 3)
        dataset = DatasetConfig("folder", source=str(root / "pictures"), image_size=side)
        experiment = Experiment(name, dataset, network=NetworkConfig("compact", options))
        folder = root / name
        folder.mkdir()
        (folder / "experiment.json").write_text(to_json(experiment))
        save_network(network, folder / "best.keras")
        folders.append(folder)
    return folders


def _rows(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (folder / "fusion.csv").open(newline="") as file:
        return {(row["answer"], row["views"]): row for row in csv.DictReader(file)}


def test_the_study(runs: list[Path], tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    words = ["fusion", *map(str, runs), "--folds", "3", "--output", str(out)]
    assert main([*words, "--save", "mean_probabilities"]) == 0
    names = sorted(file.name for file in out.iterdir())
    assert names == [
        "fusion.csv", "fusion.json", "fusion.md", "fusion.png", "fusion_mean_probabilities.keras",
    ]  # fmt: skip
    rows = _rows(out)
    assert set(rows) == {(a, v) for a in ("first", "second", *RULES) for v in ("1", "10")}
    assert {row["n"] for row in rows.values()} == {"9"}
    assert json.loads((out / "fusion.json").read_text())["split"] == "validation"

    # The first base alone, and the saved fusion, measured by hand from the files.
    from fer_keras.evaluation.run_data import run_samples

    samples, _ = run_samples(runs[0], "validation")
    alone = _accuracy(load_model(runs[0]).predict(samples.images), samples.labels)
    assert float(rows["first", "1"]["accuracy"]) == pytest.approx(alone)
    saved = load_model(out / "fusion_mean_probabilities.keras")
    assert saved.image_shape == (16, 16, 1)
    smaller = np.stack([cv2.resize(i, (12, 12)) for i in samples.images[..., 0]])[..., None]
    mean = (load_model(runs[0]).predict(samples.images) + load_model(runs[1]).predict(smaller)) / 2
    np.testing.assert_allclose(saved.predict(samples.images), mean, atol=0.02)
    assert "| mean_logits" in capsys.readouterr().out


def test_on_the_test_split_the_layers_are_those_of_the_validation_split(
    runs: list[Path], tmp_path: Path
) -> None:
    words = ["fusion", *map(str, runs), "--ten-crop", "0", "--split", "test"]
    assert main([*words, "--output", str(tmp_path / "out")]) == 0
    rows = _rows(tmp_path / "out")
    assert {views for _, views in rows} == {"1"}
    assert "fitted on the validation split" in (tmp_path / "out" / "fusion.md").read_text()


def test_refusals(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two or more"):
        main(["fusion", str(runs[0])])
    other = json.loads((runs[1] / "experiment.json").read_text())
    other["dataset"] |= {"source": str(runs[0].parent / "others")}
    for split in ("train", "validation", "test"):
        for emotion in CLASS_NAMES:
            folder = runs[0].parent / "others" / split / emotion
            folder.mkdir(parents=True)
            for copy in range(3):
                grey = np.full((18, 18), 10 * copy + len(split) + len(emotion), np.uint8)
                assert cv2.imwrite(str(folder / f"{copy}.png"), grey)
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "experiment.json").write_text(json.dumps(other))
    (moved / "best.keras").write_bytes((runs[1] / "best.keras").read_bytes())
    with pytest.raises(ConfigError, match="other pictures in their validation splits"):
        main(["fusion", str(runs[0]), str(moved)])
