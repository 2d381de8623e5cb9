"""The study of branches: votes and means against hand-worked answers, stages, maps of a branch."""

import argparse
import csv
import json
from pathlib import Path

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.data.samples import Samples, one_hot
from fer_keras.loading.keras_files import save_network
from fer_keras.models import build_network
from fer_keras.models.layers import with_class_names
from fer_keras.studies import branches
from fer_keras.studies.shared.maps import BranchCams

NAMES = ("neutral", "happiness", "anger")


def logits_of(answers: list[list[int]]) -> np.ndarray:
    """Branches that answer so, rows of pictures; the first branch is twice as sure."""
    found = 2.0 * one_hot(np.array(answers).ravel(), 3).reshape(len(answers), -1, 3)
    found[:, 0] *= 2
    return found.astype(np.float32)


def test_votes_means_and_the_best_branch() -> None:
    answers = [[0, 1, 1], [0, 0, 2], [2, 1, 0], [1, 1, 1]]
    labels = np.array([1, 0, 0, 1])
    logits = logits_of(answers)
    # The third picture has a tie, which goes to the first class.
    assert branches.vote(logits).tolist() == [1, 0, 0, 1]
    # Each branch has two or three right: 1, 3 and 3 of them.
    assert branches.best_branch(logits, labels) == 1
    found = {(m.kind, m.branches): m.right for m in branches.measure(logits, labels, 1)}
    assert [found["branch", b] for b in (1, 2, 3)] == [2, 3, 3]
    assert [found["vote", b] for b in (1, 2, 3)] == [2, 2, 4]
    # Two of two against one twice as sure: a tie again, so the first picture is lost.
    assert [found["mean", b] for b in (1, 2, 3)] == [2, 2, 2]
    assert found["best branch", 2] == 3
    assert found["any branch", 3] == 4
    low, high = next(iter(branches.measure(logits, labels, 1))).interval
    assert 0 <= low < 0.5 < high <= 1


@pytest.fixture
def grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of two branches that grew from one, and its pictures in another order of classes."""
    network = build_network("esr", (42, 42, 1), 3, variant="ckplus", num_branches=2, width=1 / 8)
    folder = tmp_path / "grown"
    (folder / "branches-1").mkdir(parents=True)
    save_network(with_class_names(network, NAMES), folder / "best.keras")
    (folder / "branches-1" / "result.json").write_text(
        json.dumps({"accuracy": 0.25, "balanced_accuracy": 0.3, "n": 12})
    )
    rng = np.random.default_rng(0)
    samples = Samples(
        "synthetic_faces", "validation", NAMES[::-1], "hard",
        rng.integers(0, 256, (12, 42, 42, 1), dtype=np.uint8), one_hot(np.arange(12) % 3, 3),
        {"source": np.arange(12).astype(str), "sha256": np.arange(12).astype(str)},
    )  # fmt: skip
    monkeypatch.setattr(branches, "run_samples", lambda *_: (samples, samples))
    return folder


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    branches.add_arguments(parser)
    return parser.parse_args(["--no-mlflow", *words])


def test_the_study(grown: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = branches.run(arguments(str(grown), "--sheet", "--output", str(out)))
    assert "synthetic_faces validation (hard), n 12" in text
    assert "Stage of k branches" in text
    assert "0.2500 [0.0889, 0.5323], 0.3000" in text
    names = {path.name for path in out.iterdir()}
    assert names == {
        "branches.md", "branches.csv", "branches.png", "grown_drawn.png",
        "grown_synthetic_faces.png",
    }  # fmt: skip
    with (out / "branches.csv").open(newline="") as file:
        rows = {(row["kind"], row["branches"]): row for row in csv.DictReader(file)}
    # By name: the mean of both branches is the answer of the network.
    samples, _ = branches.run_samples(grown, "validation")
    from fer_keras.loading.load import load_model

    model = load_model(grown / "best.keras")
    answers = model.logits(samples.images)[:, ::-1].argmax(axis=1)
    expected = float((answers == samples.labels).mean())
    assert float(rows["mean", "2"]["accuracy"]) == pytest.approx(expected)
    assert rows["stage", "1"]["n"] == "12"


def test_a_network_without_branches_is_refused(
    grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_network("compact", (16, 16, 1), 3, stem_filters=4, widths=[8], depths=[1])
    save_network(with_class_names(network, NAMES), grown / "best.keras")
    with pytest.raises(ConfigError, match="networks with branches"):
        branches.run(arguments(str(grown), "--output", str(tmp_path / "out")))


def test_the_maps_of_the_branches_are_what_their_logits_are_made_of() -> None:
    for name, options in (
        ("esr", {"variant": "ckplus", "num_branches": 2, "width": 0.5}),
        ("manet", {"width": 1 / 16, "depths": (1, 1, 1, 1)}),
    ):
        keras.utils.set_random_seed(0)
        network = build_network(name, (48, 48, 1), 3, **options)
        cams = BranchCams(network)
        images = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1), dtype=np.uint8)
        classes = np.array([0, 1, 2])
        found = cams.maps(images, classes)
        trunk = cams._trunk(images.astype(np.float32), training=False)
        logits = keras.ops.convert_to_numpy(
            network(images.astype(np.float32), training=False)["branch_logits"]
        )
        assert len(found) == logits.shape[1]
        for branch, (key, maps) in enumerate(found.items()):
            raw = keras.ops.convert_to_numpy(trunk[key]) @ cams._kernels[key]
            # Fresh biases are 0: the mean of a branch's map is its logit.
            np.testing.assert_allclose(
                raw.mean(axis=(1, 2)), logits[:, branch], rtol=1e-3, atol=1e-4
            )
            own = np.maximum(raw[np.arange(3), ..., classes], 0)
            for picture, expected in zip(maps, own, strict=True):
                scale = expected.max()
                np.testing.assert_allclose(
                    picture, expected / scale if scale else expected, rtol=1e-4, atol=1e-5
                )


def test_a_network_whose_branches_have_no_maps_has_no_cams() -> None:
    image = keras.Input((8, 8, 1))
    logits = keras.layers.Dense(3, name="branch1_logits")(keras.layers.Flatten()(image))
    with pytest.raises(ModelFileError, match="classify the means of their maps"):
        BranchCams(keras.Model(image, {"logits": logits}))
