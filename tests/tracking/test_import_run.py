"""Runs that MLflow did not see are brought in later, with all that a tracked one has there."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

import fer_keras.ui as ui
from fer_keras.common.errors import ConfigError, TrainingError
from fer_keras.config import load_experiment, override, to_json
from fer_keras.tracking.import_run import import_run
from fer_keras.tracking.tracker import RUN_ID_FILE, Tracker, fetch_run, read_run_id

ROWS = [
    {"epoch": epoch, "loss": 2 / epoch, "val_accuracy": 0.2 * epoch, "seconds": 60.0}
    for epoch in (1, 2, 3)
]
RESULT = {
    "accuracy": 0.6, "balanced_accuracy": 0.55, "macro_f1": 0.5, "nll": 1.0, "brier": 0.4,
    "ece": 0.05, "n": 100, "dataset": "synthetic_faces", "split": "validation",
    "label_rule": "majority", "train_label_rule": "majority", "class_names": ["neutral", "anger"],
    "experiment": "cross_entropy", "seed": 3, "best_epoch": 3, "training_minutes": 3.0,
    "git_commit": "abc", "backend": "tensorflow", "dataset_fingerprint": "f00",
    "validation_pictures": "0123456789ab", "tracked_as": "synthetic_faces", "fallback": False,
}  # fmt: skip


def write_run(folder: Path, result: dict[str, Any] | None, changes: tuple[str, ...] = ()) -> Path:
    folder.mkdir(parents=True)
    changes = ("seed=3", "dataset.name=synthetic_faces", *changes)
    experiment = override(load_experiment("cross_entropy"), list(changes))
    (folder / "experiment.json").write_text(to_json(experiment))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "best.keras").write_bytes(b"network")
    (folder / "cross_entropy_epoch3_acc0.6000_bacc0.5500.keras").write_bytes(b"network")
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def test_a_finished_run(store: Path, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs" / "A", RESULT)
    (line,) = import_run(folder)
    run_id = read_run_id(folder)
    assert run_id in line
    assert "3 epochs" in line
    assert "cross_entropy seed 3 0.6000" in line
    client = Tracker()._connect()
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "cross_entropy-seed3"
    assert client.get_experiment(run.info.experiment_id).name == "synthetic_faces"
    assert run.data.params["seed"] == "3"
    assert run.data.params["dataset.name"] == "synthetic_faces"
    assert run.data.tags["git_commit"] == "abc"
    assert run.data.tags["label_order"] == "neutral,anger"
    assert run.data.metrics["best_accuracy"] == 0.6
    losses = client.get_metric_history(run_id, "loss")
    assert [(each.step, each.value) for each in losses] == [(1, 2.0), (2, 1.0), (3, 2 / 3)]
    # A minute lies between two epochs, and the last one ended when it was written.
    assert losses[1].timestamp - losses[0].timestamp == pytest.approx(60_000, abs=2)
    ended_ms = 1000 * (folder / "metrics.jsonl").stat().st_mtime
    assert losses[2].timestamp == pytest.approx(ended_ms, abs=2)
    files = {each.path for each in client.list_artifacts(run_id)}
    assert files == {"best.keras", "experiment.json", "metrics.jsonl", "result.json"}
    champion = client.get_model_version_by_alias("synthetic_faces-majority", "champion")
    assert champion.run_id == run_id
    assert fetch_run(run_id, tmp_path / "fetched") == tmp_path / "fetched"
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.keras", "cross_entropy_epoch3_acc0.6000_bacc0.5500.keras", "experiment.json",
        "metrics.jsonl", RUN_ID_FILE, "result.json",
    ]  # fmt: skip


def test_twice_says_so(store: Path, tmp_path: Path, capsys: Any) -> None:
    folder = write_run(tmp_path / "A", RESULT)
    assert ui.main(["import", str(folder)]) == 0
    run_id = read_run_id(folder)
    assert ui.main(["import", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"{folder}: in MLflow already, run {run_id} (finished)"
    client = Tracker()._connect()
    experiment = client.get_experiment_by_name("synthetic_faces")
    assert len(client.search_runs([experiment.experiment_id])) == 1
    # In another store it is a new run again.
    (folder / RUN_ID_FILE).write_text("0" * 32 + "\n")
    assert "imported as run" in import_run(folder)[0]


def test_two_commands_at_once_make_one_run(store: Path, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "A", RESULT)
    lines: list[str] = []
    threads = [threading.Thread(target=lambda: lines.extend(import_run(folder))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted("in MLflow already" in line for line in lines) == [False, True]


def test_an_unfinished_run_is_no_champion(store: Path, tmp_path: Path) -> None:
    evaluated = {key: value for key, value in RESULT.items() if key != "training_minutes"}
    for name, result in (("A", None), ("B", evaluated)):
        folder = write_run(tmp_path / name, result)
        (line,) = import_run(folder)
        assert line.endswith("3 epochs, not finished")
        client = Tracker()._connect()
        assert client.get_run(read_run_id(folder)).info.status == "KILLED"
        assert client.search_registered_models() == []


def test_folds_are_nested(store: Path, tmp_path: Path) -> None:
    changes = ("dataset.split=folds", "dataset.folds=3", "dataset.fold=-1")
    pooled = {**RESULT, "mean_accuracy": 0.6, "std_accuracy": 0.1}
    parent = write_run(tmp_path / "cv", pooled, changes)
    (parent / "metrics.jsonl").unlink()
    for fold in range(3):
        folder = write_run(
            parent / f"fold-{fold}", RESULT, ("dataset.split=folds", "dataset.folds=3")
        )
        (folder / "result_test.json").write_text(json.dumps({"accuracy": 0.5 + fold / 10}))
    assert len(import_run(parent)) == 4
    client = Tracker()._connect()
    whole = client.get_run(read_run_id(parent))
    assert whole.info.run_name == "cross_entropy-seed3 3 folds"
    assert whole.data.metrics["mean_accuracy"] == 0.6
    history = client.get_metric_history(whole.info.run_id, "fold_accuracy")
    assert [each.value for each in history] == [0.5, 0.6, 0.7]
    nested = client.get_run(read_run_id(parent / "fold-1"))
    assert nested.data.tags["mlflow.parentRunId"] == whole.info.run_id
    assert nested.info.run_name == "cross_entropy-seed3 fold 1"
    assert client.search_registered_models() == []


def test_what_cannot_be_imported(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"expected a run folder with experiment\.json"):
        import_run(tmp_path)
    with pytest.raises(SystemExit):
        ui.main(["import"])
    with pytest.raises(SystemExit):
        ui.main(["serve", "runs/A"])
    damaged = write_run(tmp_path / "damaged", RESULT)
    (damaged / "metrics.jsonl").write_text("{")
    with pytest.raises(ConfigError, match=r"damaged.*metrics\.jsonl"):
        import_run(damaged)

    folder = write_run(tmp_path / "A", RESULT)

    def gone(*arguments: Any) -> None:
        raise ConnectionError("the server is gone")

    monkeypatch.setattr(Tracker, "_log", gone)
    with pytest.raises(TrainingError, match="MLflow did not take the run"):
        import_run(folder)
    assert not read_run_id(folder)
