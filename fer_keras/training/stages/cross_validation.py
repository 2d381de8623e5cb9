"""Cross-validation: every fold of a data set in turn, as nested runs of one parent run.

`dataset.fold=-1` asks for it. Each fold is trained, and its epoch chosen, without its test part,
which is scored once when the fold is finished; the figures of the whole are those of all
out-of-fold predictions together. A fold that has its test result is never trained again, and one
that was interrupted goes on from its own checkpoint.

Pooled accuracies have two intervals: pictures of one person are not independent, so the second
draws people.

The folder of the parent run:
  fold-0, fold-1, ...      a run folder each, with result_test.json
  result.json, folds.md    the pooled figures, mean and spread over folds, and a row for each fold
  predictions_out_of_fold.csv, confusion_matrix_out_of_fold.png
"""

import dataclasses
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import Stopped
from fer_keras.common.files import read_json, write_text
from fer_keras.common.metrics import evaluate_predictions
from fer_keras.config import Experiment, flatten, load_experiment
from fer_keras.data.load import tracked_name
from fer_keras.data.samples import one_hot
from fer_keras.data.splits import num_folds
from fer_keras.evaluation.evaluate import evaluate
from fer_keras.evaluation.run_data import run_samples
from fer_keras.reporting.plots import plot_confusion_matrix
from fer_keras.reporting.tables import read_csv, write_csv
from fer_keras.tracking.tracked import store_files, tracked
from fer_keras.tracking.tracker import git_commit
from fer_keras.training.run_folder import open_run_dir

_TEST_RESULT = "result_test.json"
# Draws of subjects for the interval; its ends then move by some 0.001 between seeds.
_NUM_DRAWS = 2000


def cross_validate(
    experiment: Experiment,
    run_dir: Path,
    train_fold: Callable[..., dict[str, Any]],
    *,
    resume: bool = False,
    command: str = "",
    track: bool = True,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Trains and tests every fold, and pools what was predicted out of fold.

    Args:
        experiment: Its `dataset.fold` is -1.
        run_dir: The parent folder; made if missing.
        train_fold: Trains one fold: `fer_keras.training.stages.run_stages.run_stages`.
        resume: Go on where the folder's cross-validation was interrupted.
        command: The command line, for the record.
        track: Whether MLflow gets the parent run and its folds.
        report: Takes the lines for the terminal.

    Returns:
        The content of the parent's `result.json`: the figures of
        `fer_keras.common.metrics.evaluate_predictions` over all out-of-fold predictions,
        `subject_interval` (95 %, by drawing subjects), `mean_accuracy`, `std_accuracy` over folds,
        and `folds`.

    Raises:
        ConfigError: The folder is in use, or there is nothing to resume.
        DataError: The subjects are not known, or too few.
        fer_keras.training.callbacks.Interrupted: Ctrl-C or SIGTERM; `resume` goes on in the same
        fold.
    """
    count = num_folds(experiment.dataset)
    open_run_dir(run_dir, experiment, resume)
    fallback = bool(experiment.dataset.fallback_for)
    report(f"{experiment.name} seed {experiment.seed}  {count} folds in turn  {run_dir}")
    commit = git_commit()
    tags = {
        "experiment": experiment.name,
        "method": experiment.method.name,
        "network": experiment.network.name,
        "git_commit": commit,
        "folds": str(count),
        "fallback": str(fallback).lower(),
        "seed": str(experiment.seed),
        "run_dir": str(run_dir),
    }
    name = f"{experiment.name}-seed{experiment.seed}{' fallback' if fallback else ''} {count} folds"
    settings = flatten(dataclasses.asdict(experiment))
    data = tracked_name(experiment.dataset.name, experiment.dataset.source)
    try:
        with tracked(
            run_dir,
            data,
            name,
            settings,
            tags,
            enabled=track,
        ) as tracker:
            folders = []
            for fold in range(count):
                folder = run_dir / f"fold-{fold}"
                report(f"\nfold {fold + 1} of {count}")
                _train_and_test(
                    experiment, fold, folder, train_fold, report,
                    command=command, track=track, parent_run_id=tracker.run_id, part=f"fold {fold}",
                )  # fmt: skip
                accuracy = _read(folder / _TEST_RESULT)["accuracy"]
                tracker.log({"fold_accuracy": accuracy}, fold)
                folders.append(folder)
            record = {
                "experiment": experiment.name,
                "run": f"{experiment.name} seed {experiment.seed} {count} folds",
                "fallback": fallback,
                "seed": experiment.seed,
                "git_commit": commit,
                "command": command,
            }
            result = pool_folds(folders, run_dir, record)
            scores = ("accuracy", "mean_accuracy", "std_accuracy", "balanced_accuracy", "macro_f1")
            tracker.log({name: result[name] for name in scores}, 0)
            store_files(tracker, run_dir)
    except (Stopped, KeyboardInterrupt):
        report(
            "The folds that are finished are kept. Go on with all of it: python -m "
            f"fer_keras.train --run-dir {run_dir} --resume"
        )
        raise
    report(f"\n{folds_table(result)}\n\n{summary(result)}\n{run_dir}")
    return result


def _train_and_test(
    experiment: Experiment,
    fold: int,
    folder: Path,
    train_fold: Callable[..., dict[str, Any]],
    report: Callable[[str], None],
    **record: Any,
) -> None:
    """Brings one fold to its test result, from wherever it is."""
    if (folder / _TEST_RESULT).is_file():
        report("finished before")
        return
    dataset = dataclasses.replace(experiment.dataset, fold=fold)
    started = (folder / "experiment.json").is_file()
    # A fold that was started has the paths of its earlier stages in its own experiment.
    own = (
        load_experiment(str(folder))
        if started
        else dataclasses.replace(experiment, dataset=dataset)
    )
    train_fold(own, folder, resume=started, **record)
    samples, train = run_samples(folder, "test")
    figures = evaluate(folder, samples, train_samples=train, output_dir=folder)
    report(f"fold {fold}: test accuracy {figures['accuracy']:.4f}, n {figures['n']}")
    # The networks of the finished folds would stay in memory.
    keras.utils.clear_session()


def pool_folds(
    folders: Sequence[Path], output_dir: Path, record: Mapping[str, Any]
) -> dict[str, Any]:
    """Figures over the out-of-fold predictions of finished folds.

    Args:
        folders: Run folders with a test result, in the order of the folds.
        output_dir: Receives `result.json`, `folds.md`, predictions and confusion matrix.
        record: What else `result.json` says.

    Returns:
        The content of `result.json`, see `cross_validate`.
    """
    tests = [_read(folder / _TEST_RESULT) for folder in folders]
    runs = [_read(folder / "result.json") for folder in folders]
    rows = [
        {"fold": str(fold), **row}
        for fold, folder in enumerate(folders)
        for row in read_csv(folder / "predictions_test.csv")
    ]
    names = tests[0]["class_names"]
    probabilities = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows])
    labels = np.array([names.index(row["true"]) for row in rows])
    correct = np.array([row["true"] == row["predicted"] for row in rows])
    subjects = np.array([row["subject"] for row in rows])
    figures = evaluate_predictions(probabilities, one_hot(labels, len(names)), names)
    accuracies = [test["accuracy"] for test in tests]
    result = {
        **record,
        **figures,
        "subject_interval": list(subject_interval(correct, subjects)),
        "num_subjects": len(np.unique(subjects)),
        "mean_accuracy": statistics.fmean(accuracies),
        "std_accuracy": statistics.stdev(accuracies),
        "dataset": tests[0]["dataset"],
        "split": "out_of_fold",
        "label_rule": tests[0]["label_rule"],
        "trainable_parameters": runs[0]["trainable_parameters"],
        "training_minutes": round(sum(run["training_minutes"] for run in runs), 2),
        "backend": runs[0]["backend"],
        "device": runs[0]["device"],
        "folds": [
            {
                "fold": fold,
                "folder": folder.name,
                "n": test["n"],
                "accuracy": test["accuracy"],
                "accuracy_interval": test["accuracy_interval"],
                "balanced_accuracy": test["balanced_accuracy"],
                "validation_accuracy": run["accuracy"],
                "best_epoch": run["best_epoch"],
                "training_minutes": run["training_minutes"],
            }
            for fold, (folder, test, run) in enumerate(zip(folders, tests, runs, strict=True))
        ],
    }
    write_csv(output_dir / "predictions_out_of_fold.csv", rows)
    title = (
        f"{result['dataset']} out of fold, {len(folders)} folds: {result['accuracy']:.1%} of "
        f"{result['n']:,}"
    )
    plot_confusion_matrix(
        result["confusion_matrix"],
        names,
        output_dir / "confusion_matrix_out_of_fold.png",
        title=title,
    )
    write_text(output_dir / "folds.md", f"{folds_table(result)}\n\n{summary(result)}\n")
    write_text(output_dir / "result.json", json.dumps(result, indent=2) + "\n")
    return result


def subject_interval(
    correct: npt.NDArray[np.bool_], subjects: npt.NDArray[np.str_]
) -> tuple[float, float]:
    """The 95 % interval of an accuracy when whole people, not pictures, are drawn.

    Pictures of one person are not independent of each other, so the Wilson interval, which counts
    each as a trial of its own, is too narrow (a cluster bootstrap; Field and Welsh 2007).

    Args:
        correct: `(n,)`.
        subjects: `(n,)` who is shown.

    Returns:
        Lower and upper bound in [0, 1].
    """
    _, person = np.unique(subjects, return_inverse=True)
    pictures = np.bincount(person)
    right = np.bincount(person, weights=correct)
    drawn = np.random.default_rng(0).integers(len(pictures), size=(_NUM_DRAWS, len(pictures)))
    accuracies = right[drawn].sum(axis=1) / pictures[drawn].sum(axis=1)
    low, high = np.quantile(accuracies, (0.025, 0.975))
    return float(low), float(high)


def folds_table(result: Mapping[str, Any]) -> str:
    """A Markdown table with a row for each fold.

    Args:
        result: Of `pool_folds`.
    """
    lines = [
        "| Fold | n | Test accuracy | Balanced | Validation accuracy | Epoch kept | Minutes |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['fold']} | {row['n']} | {row['accuracy']:.4f} | {row['balanced_accuracy']:.4f} | "
        f"{row['validation_accuracy']:.4f} | {row['best_epoch']} | {row['training_minutes']:.1f} |"
        for row in result["folds"]
    ]
    return "\n".join(lines)


def summary(result: Mapping[str, Any]) -> str:
    """One line: mean and spread over folds, and the pooled accuracy with both its intervals.

    Args:
        result: Of `pool_folds`.
    """
    low, high = result["accuracy_interval"]
    subject_low, subject_high = result["subject_interval"]
    return (
        f"{result['experiment']} seed {result['seed']}  {result['dataset']}, "
        f"{len(result['folds'])} folds: mean {result['mean_accuracy']:.4f}, standard deviation "
        f"{result['std_accuracy']:.4f}; pooled {result['accuracy']:.4f}, n {result['n']:,} of "
        f"{result['num_subjects']} subjects, 95 % by pictures [{low:.4f}, {high:.4f}], by subjects "
        f"[{subject_low:.4f}, {subject_high:.4f}]"
    )


def _read(path: Path) -> dict[str, Any]:
    return read_json(path)
