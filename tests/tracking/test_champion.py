"""Who becomes champion: the best on the same pictures by the same label rule."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.data.samples import Samples, one_hot
from fer_keras.tracking.champion import challenge, pictures_id
from fer_keras.tracking.tracker import Tracker


def samples(names: tuple[str, ...] = ("neutral", "anger"), side: int = 8) -> Samples:
    labels = np.array([names.index(name) for name in ("neutral", "anger", "anger")])
    columns = {
        "source": np.array(["a", "b", "c"]),
        "sha256": np.array([f"{i:064d}" for i in range(3)]),
        "subject": np.array([""] * 3),
    }
    images = np.zeros((3, side, side, 1), np.uint8)
    return Samples("x", "validation", names, "hard", images, one_hot(labels, 2), columns)


def result(experiment: str, accuracy: float, **changes: Any) -> dict[str, Any]:
    return {
        "dataset": "ferplus",
        "label_rule": "majority",
        "experiment": experiment,
        "seed": 0,
        "accuracy": accuracy,
        "n": 100,
        "validation_pictures": "0123456789ab",
        "train_label_rule": "crossentropy",
        "git_commit": "abc",
        "class_names": ["neutral", "anger"],
        **changes,
    }


def test_the_same_pictures_in_another_form_are_the_same() -> None:
    here = samples()
    assert pictures_id(here) == pictures_id(samples(side=16))
    assert pictures_id(here) == pictures_id(here.take([2, 0, 1]))
    assert pictures_id(here) == pictures_id(samples(names=("anger", "neutral")))


def test_other_pictures_or_labels_are_not_the_same() -> None:
    here = samples()
    assert pictures_id(here) != pictures_id(here.take([0, 1]))
    relabelled = replace(here, targets=here.targets[::-1].copy(), fingerprint="")
    assert pictures_id(here) != pictures_id(relabelled)


@pytest.fixture
def run(store: Path, tmp_path: Path) -> Tracker:
    tracker = Tracker()
    tracker.start("ferplus", "run", {}, {})
    model = tmp_path / "best.keras"
    model.write_bytes(b"weights")
    tracker.artifact(model)
    return tracker


def test_a_better_run_takes_the_alias_and_a_tie_leaves_it(run: Tracker) -> None:
    import mlflow

    assert "first seed 0 0.8000" in challenge(run, result("first", 0.8))
    assert "first seed 0 stays, 0.8000" in challenge(run, result("equal", 0.8))
    assert "second seed 0 0.8100, before first" in challenge(run, result("second", 0.81))
    client = mlflow.MlflowClient()
    version = client.get_model_version_by_alias("ferplus-majority", "champion")
    assert (int(version.version), version.tags["run"]) == (2, "second seed 0")
    # What the alias names can be fetched.
    folder = mlflow.artifacts.download_artifacts("models:/ferplus-majority@champion")
    assert (Path(folder) / "best.keras").read_bytes() == b"weights"


def test_other_pictures_are_not_compared_and_other_rules_have_their_own_champion(
    run: Tracker,
) -> None:
    challenge(run, result("first", 0.8))
    line = challenge(run, result("lucky", 0.99, validation_pictures="ffffffffffff"))
    assert "not compared" in line
    champion = run.champion("ferplus-majority")
    assert champion is not None
    assert champion["run"] == "first seed 0"
    assert "soft seed 0 0.7000" in challenge(run, result("soft", 0.7, label_rule="probability"))
    own = result("own", 0.6, validation_pictures="a", dataset="folder", tracked_as="folder-a-1")
    assert "champion  folder-a-1-majority: own seed 0" in challenge(run, own)
    assert "folder-b-2-majority: own" in challenge(run, {**own, "tracked_as": "folder-b-2"})


def test_without_a_store_nobody_is_champion() -> None:
    assert challenge(Tracker(enabled=False), result("first", 0.8)) == ""
