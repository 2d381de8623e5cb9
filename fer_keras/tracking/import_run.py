"""Brings a run that MLflow did not see into it later: everything is in the run folder.

A training whose tracking server was away, or that ran with `--no-mlflow` or on another machine, has
its settings, the figures of every epoch, its result and its files in its folder.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError, TrainingError
from fer_keras.common.files import locked, read_json, write_text
from fer_keras.config import Experiment, flatten, load_experiment
from fer_keras.data.load import tracked_name
from fer_keras.tracking.champion import challenge, not_whole
from fer_keras.tracking.run_names import data_tag, run_name
from fer_keras.tracking.tracked import store_files
from fer_keras.tracking.tracker import (
    RUN_ID_FILE,
    TRACKED_FIGURES,
    Tracker,
    read_run_id,
    run_status,
    store_uri,
)

_LOCK = ".import.lock"
# What a cross-validation tracks of its result.
_POOLED_FIGURES = ("accuracy", "mean_accuracy", "std_accuracy", "balanced_accuracy", "macro_f1")


def import_run(folder: Path) -> list[str]:
    """Adds a run folder to MLflow, with the folds of a cross-validation nested in it.

    Args:
        folder: Of a training, finished or not, or of a cross-validation.

    Returns:
        A line for each run: what became of it. A run that the store has already is left as it is.

    Raises:
        ConfigError: It is no run folder.
        TrainingError: The store stopped to answer; what it took until then stays there, as a run
            that is not finished.
    """
    if not (folder / "experiment.json").is_file():
        raise ConfigError(
            f"expected a run folder with experiment.json, found none. Check the path: {folder}"
        )
    # Two commands at once would make two runs of it.
    with locked(folder / _LOCK):
        lines = list(_import(folder, "", ""))
    (folder / _LOCK).unlink(missing_ok=True)
    return lines


def _import(folder: Path, part: str, parent_run_id: str) -> Iterator[str]:
    experiment = load_experiment(str(folder / "experiment.json"))
    earlier = read_run_id(folder)
    if earlier and (known := run_status(earlier)):
        yield f"{folder}: in MLflow already, run {earlier} ({known.lower()})"
        run_id = earlier
    else:
        run_id, line = _add(folder, experiment, part, parent_run_id)
        yield f"{folder}: {line}"
    for fold in _folds(folder):
        yield from _import(fold, fold.name.replace("-", " "), run_id)


def _folds(folder: Path) -> list[Path]:
    """The run folders of a cross-validation, in their order."""
    found = [path.parent for path in folder.glob("fold-*/experiment.json")]
    return sorted(found, key=lambda path: int(path.name.removeprefix("fold-")))


def _add(folder: Path, experiment: Experiment, part: str, parent_run_id: str) -> tuple[str, str]:
    path = folder / "result.json"
    result = read_json(path) if path.is_file() else {}
    rows = _history(folder / "metrics.jsonl")
    is_whole = experiment.dataset.every_fold and not part
    # An evaluation writes the file too, but not how long the training took.
    finished = bool(result) if is_whole else "training_minutes" in result
    tracker = Tracker()
    run_id = tracker.start(
        result.get("tracked_as")
        or tracked_name(experiment.dataset.name, experiment.dataset.source),
        run_name(experiment, part or (f"{len(_folds(folder))} folds" if is_whole else "")),
        flatten(dataclasses.asdict(experiment)),
        _tags(folder, experiment, result),
        parent_run_id=parent_run_id,
        watch_system=False,
    )
    ended_s = (folder / "metrics.jsonl" if rows else folder / "experiment.json").stat().st_mtime
    # By the clock of the last epoch and what each took: as if MLflow had been there.
    time_s = ended_s - sum(row.get("seconds", 0.0) for row in rows)
    for row in rows:
        time_s += row.get("seconds", 0.0)
        figures = {name: value for name, value in row.items() if name != "epoch"}
        tracker.log(figures, int(row["epoch"]), time_s)
    if finished and is_whole:
        tracker.log({name: result[name] for name in _POOLED_FIGURES}, 0, ended_s)
        for number, fold in enumerate(_folds(folder)):
            accuracy = read_json(fold / "result_test.json")["accuracy"]
            tracker.log({"fold_accuracy": accuracy}, number, ended_s)
    elif finished:
        scores = {f"best_{name}": round(result[name], 5) for name in TRACKED_FIGURES}
        tracker.log(scores, int(result["best_epoch"]), ended_s)
    second_names = [each.name for each in folder.glob("*_epoch*_acc*_bacc*.keras")]
    store_files(tracker, folder, [_LOCK, *second_names])
    champion = ""
    if finished and not (part or is_whole or result.get("fallback")):
        smaller = not_whole(experiment)
        line = f"champion  not challenged: {smaller}" if smaller else ""
        champion = line or challenge(tracker, result)
    if not tracker.active:
        raise TrainingError(f"MLflow did not take the run. Store: {store_uri()}. Run: {folder}")
    tracker.finish("FINISHED" if finished else "KILLED")
    # Last: a run without it is imported anew.
    write_text(folder / RUN_ID_FILE, run_id + "\n")
    epochs = f"{len(rows)} epochs" + ("" if finished else ", not finished")
    return run_id, f"imported as run {run_id}, {epochs}" + (f"; {champion}" if champion else "")


def _history(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    except ValueError as error:
        raise ConfigError(f"the figures of the epochs are damaged ({error}): {path}") from error


def _tags(folder: Path, experiment: Experiment, result: Mapping[str, Any]) -> dict[str, str]:
    """As a training sets them, as far as its result says it."""
    known = {
        "git_commit": "git_commit",
        "dataset_fingerprint": "dataset_fingerprint",
        "label_rule": "train_label_rule",
        "backend": "backend",
        "device": "device",
        "initial_weights": "initial_weights",
    }
    tags = {tag: str(result[key]) for tag, key in known.items() if result.get(key) is not None}
    if result.get("class_names"):
        tags["label_order"] = ",".join(result["class_names"])
    return {
        "experiment": experiment.name,
        "method": experiment.method.name,
        "network": experiment.network.name,
        "dataset": data_tag(experiment).removeprefix("dataset="),
        "fallback": str(bool(experiment.dataset.fallback_for)).lower(),
        "seed": str(experiment.seed),
        "run_dir": str(folder),
        "imported": "true",
        **tags,
    }
