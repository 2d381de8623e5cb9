"""Cross-validation: nested runs, pooled figures, going on in the middle of a fold."""

import csv
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import fer_keras.data.splits as splits_module
from fer_keras.common.errors import ConfigError
from fer_keras.config import (
    DatasetConfig,
    Experiment,
    NetworkConfig,
    TrainingConfig,
    load_experiment,
    override,
)
from fer_keras.data.samples import Samples, one_hot
from fer_keras.loading.keras_files import load_network
from fer_keras.train import main
from fer_keras.training.callbacks import Interrupted, RunState
from fer_keras.training.fallback import with_fallback
from fer_keras.training.run import run
from fer_keras.training.run_folder import stored_backend
from fer_keras.training.stages.cross_validation import subject_interval
from fer_keras.training.stages.run_stages import run_stages
from fer_keras.training.start import with_earlier_stages

NAMES = ("neutral", "happiness", "anger")
NUM_FOLDS = 3
# What an epoch takes: 24 pictures of two thirds of the people less the validation fold, in eights.
STEPS_PER_EPOCH = 2


def _people() -> Samples:
    """Nine people with a picture of each class, which are told apart by their brightness."""
    rng = np.random.default_rng(0)
    labels = np.arange(36) % 3
    images = rng.normal(60 + 60 * labels[:, None, None, None], 20, (36, 16, 16, 1))
    facts = {
        "source": np.array([f"picture {i}" for i in range(36)]),
        "sha256": np.array([f"{i:064d}" for i in range(36)]),
        "subject": np.array([f"person {i // 4}" for i in range(36)]),
    }
    pixels = np.clip(images, 0, 255).astype(np.uint8)
    return Samples("synthetic_faces", "all", NAMES, "hard", pixels, one_hot(labels, 3), facts)


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch, undrawn: None) -> None:
    monkeypatch.setattr(splits_module, "_pooled", lambda *_: _people())


EXPERIMENT = Experiment(
    name="tiny",
    dataset=DatasetConfig(
        name="synthetic_faces", image_size=16, split="folds", folds=NUM_FOLDS, fold=-1
    ),
    network=NetworkConfig("compact", {"stem_filters": 4, "widths": [8], "depths": [1]}),
    training=TrainingConfig(epochs=2, batch_size=8, learning_rate=0.01),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a cross-validation that was never interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits_module, "_pooled", lambda *_: _people())
        # To draw the figures of every fold takes ten seconds; `test_train.py` draws those of a run.
        patch.setattr(
            "fer_keras.reporting.plots.save_figure", lambda figure, path: Path(path).touch()
        )
        folder = tmp_path_factory.mktemp("cross_validation") / "run"
        run_stages(EXPERIMENT, folder, track=False, command="python -m fer_keras.train")
        yield folder


def _weights(run_dir: Path) -> list[np.ndarray]:
    return load_network(run_dir / "best.keras")[0].get_weights()


def _predictions(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions_out_of_fold.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_every_picture_is_tested_once_by_a_network_that_never_saw_its_person(whole: Path) -> None:
    rows = _predictions(whole)
    assert sorted(row["source"] for row in rows) == sorted(f"picture {i}" for i in range(36))
    tested = {fold: {r["subject"] for r in rows if r["fold"] == str(fold)} for fold in range(3)}
    assert sum(len(people) for people in tested.values()) == 9
    assert set.union(*tested.values()) == {f"person {i}" for i in range(9)}
    for fold in range(NUM_FOLDS):
        own = _read(whole / f"fold-{fold}" / "experiment.json")["dataset"]
        assert own["fold"] == fold
        validated = whole / f"fold-{fold}" / "predictions_validation.csv"
        with validated.open(newline="") as file:
            assert not {row["subject"] for row in csv.DictReader(file)} & tested[fold]


def test_the_result_is_that_of_all_out_of_fold_predictions(whole: Path) -> None:
    result, rows = _read(whole / "result.json"), _predictions(whole)
    right = [row["true"] == row["predicted"] for row in rows]
    assert (result["n"], result["num_subjects"], result["split"]) == (36, 9, "out_of_fold")
    assert result["accuracy"] == pytest.approx(np.mean(right))
    tests = [_read(whole / f"fold-{fold}" / "result_test.json") for fold in range(NUM_FOLDS)]
    accuracies = [test["accuracy"] for test in tests]
    assert [fold["accuracy"] for fold in result["folds"]] == accuracies
    assert result["mean_accuracy"] == pytest.approx(np.mean(accuracies))
    assert result["std_accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
    assert np.sum(result["confusion_matrix"]) == 36
    low, high = result["subject_interval"]
    assert low <= result["accuracy"] <= high
    table = (whole / "folds.md").read_text()
    assert f"| 2 | {tests[2]['n']} | {accuracies[2]:.4f} |" in table
    assert f"mean {np.mean(accuracies):.4f}" in table
    assert (whole / "confusion_matrix_out_of_fold.png").is_file()


def test_interrupted_within_a_fold_goes_on_there(
    whole: Path, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second fold is cut at its third step, within its second epoch."""
    import mlflow

    cut = tmp_path / "run"
    original: Callable[..., None] = RunState.on_train_batch_end
    steps = iter(range(100))

    def interrupt(self: RunState, batch: int, logs: Any = None) -> None:
        if next(steps) == 2 * STEPS_PER_EPOCH + 2:
            signal.raise_signal(signal.SIGINT)
        original(self, batch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(RunState, "on_train_batch_end", interrupt)
        with pytest.raises(Interrupted):
            run_stages(EXPERIMENT, cut)
    assert {path.name for path in cut.glob("fold-*")} == {"fold-0", "fold-1"}
    assert not (cut / "fold-1" / "result.json").exists()
    finished = (cut / "fold-0" / "result_test.json").stat().st_mtime_ns

    # As a user has it: the backend is looked up, then counted out, over the folds.
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert stored_backend(cut) == keras.backend.backend()
    monkeypatch.setattr("fer_keras.training.backend_choice.stored_backend", lambda _: "")
    assert main(["--run-dir", str(cut), "--resume"]) == 0
    assert (cut / "fold-0" / "result_test.json").stat().st_mtime_ns == finished
    for fold in range(NUM_FOLDS):
        expected, received = _weights(whole / f"fold-{fold}"), _weights(cut / f"fold-{fold}")
        for values, others in zip(expected, received, strict=True):
            np.testing.assert_array_equal(values, others)
    assert _predictions(cut) == _predictions(whole)

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("synthetic_faces")
    runs = client.search_runs([experiment.experiment_id])
    parents = [each for each in runs if "mlflow.parentRunId" not in each.data.tags]
    folds = [each for each in runs if "mlflow.parentRunId" in each.data.tags]
    assert len(parents) == 1
    assert {each.data.tags["mlflow.parentRunId"] for each in folds} == {parents[0].info.run_id}
    assert sorted(each.info.run_name[-6:] for each in folds) == ["fold 0", "fold 1", "fold 2"]
    assert {each.info.status for each in runs} == {"FINISHED"}
    assert parents[0].data.metrics["accuracy"] == _read(cut / "result.json")["accuracy"]
    logged = client.get_metric_history(parents[0].info.run_id, "fold_accuracy")
    assert {metric.step for metric in logged} == {0, 1, 2}


def test_a_finished_one_is_only_pooled_again(whole: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(whole, copy)
    (copy / "result.json").unlink()
    for fold in range(NUM_FOLDS):
        (copy / f"fold-{fold}" / "best.keras").unlink()  # any training or test would fail
    run_stages(EXPERIMENT, copy, resume=True, track=False)
    expected = _read(whole / "result.json") | {"command": ""}
    assert _read(copy / "result.json") == expected


def test_the_command_leaves_a_finished_one_as_it_is(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(whole, copy)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    assert main(["--run-dir", str(copy), "--resume", "--no-mlflow"]) == 0
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before
    assert "tiny seed 0 3 folds is finished" in capsys.readouterr().out


def test_one_fold_is_not_all_of_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"-1, every fold in turn, is for training"):
        run(EXPERIMENT, tmp_path / "run", track=False)
    assert not (tmp_path / "run").exists()
    assert not override(EXPERIMENT, ["dataset.fold=1"]).dataset.every_fold
    assert not override(EXPERIMENT, ["dataset.split=official"]).dataset.every_fold


def test_an_earlier_stage_is_trained_on_the_people_of_the_fold(tmp_path: Path) -> None:
    asked: list[Experiment] = []

    def train(first: Experiment) -> Path:
        asked.append(first)
        return tmp_path

    later = load_experiment("ckplus_compact")
    later = override(later, ["network.weights=ckplus_compact", "dataset.fold=4"])
    with_earlier_stages(later, train, tmp_path)
    assert (asked[0].dataset.split, asked[0].dataset.fold) == ("folds", 4)
    elsewhere = override(load_experiment("cross_entropy"), ["network.weights=ckplus_compact"])
    with pytest.raises(ConfigError, match="trains one network"):
        with_earlier_stages(elsewhere, train, tmp_path)


def test_leaving_one_person_out_makes_a_fold_of_each() -> None:
    left_out = override(EXPERIMENT, ["dataset.split=leave_one_subject_out"]).dataset
    assert left_out.every_fold
    assert splits_module.num_folds(left_out) == 9


def test_on_the_built_in_faces_it_is_three_small_folds() -> None:
    experiment = override(EXPERIMENT, ["dataset.name=ckplus7", "dataset.folds=10"])
    dataset = with_fallback(experiment, require_data=False).dataset
    assert (dataset.name, dataset.every_fold, dataset.folds) == ("synthetic_faces", True, 3)
    assert dataset.limit == 1000


def test_the_interval_is_wider_where_a_person_is_right_or_wrong_as_a_whole() -> None:
    subjects = np.repeat([f"s{i}" for i in range(20)], 10)
    whole_people = np.repeat(np.arange(20) % 2 == 0, 10)
    mixed = np.arange(200) % 2 == 0
    low, high = subject_interval(whole_people, subjects)
    # 20 fair coins: 1.96 * sqrt(.25 / 20) = .22 on either side
    assert (low, high) == (pytest.approx(0.28, abs=0.04), pytest.approx(0.72, abs=0.04))
    assert subject_interval(mixed, subjects) == (0.5, 0.5)
