"""Studies that train: every row with every seed, resumable, nested in one MLflow run.

A row is a shipped experiment with some settings changed (`trained.Row`). The options of the command
change all rows alike, so a study can be tried in minutes: `--epochs 3 --limit 4000`. A run folder
that is finished is never trained again, and one that was interrupted goes on from its checkpoint:
the same command with the same `--output` goes on with the study.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from fer_keras.common.metrics import wilson_interval
from fer_keras.config import load_experiment, override
from fer_keras.data import splits
from fer_keras.reporting.tables import file_stem
from fer_keras.studies.shared.trained_rows import Outcome, Row, paired_difference, train_row
from fer_keras.tracking.tracked import store_files, tracked
from fer_keras.tracking.tracker import Tracker, git_commit

# One for each seed, in the order of the seeds.
Outcomes = Sequence[Outcome]


def add_series_arguments(parser: argparse.ArgumentParser, study: str, dataset: str) -> None:
    """Adds the options of a study that trains every row with every seed.

    Args:
        parser: That of the study.
        study: Its name.
        dataset: The data set that it trains on by default.
    """
    add = parser.add_argument
    add("--dataset", default=dataset, help=f"default: {dataset}; synthetic_faces is built in")
    add("--source", type=Path, help="file or folder of the data set")
    add("--seeds", type=int, nargs="+", default=[0], metavar="N", help="train with each (0)")
    add("--epochs", type=int, metavar="N", help="passes of each training (as its experiment)")
    add("--limit", type=int, default=0, metavar="N", help="train on only N pictures")
    add(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="change a setting of all trainings, as train --set does",
    )  # fmt: skip
    add(
        "--split", choices=("validation", "test"), default="validation",
        help="what is measured on (validation, which also chose the epochs; test is read once)",
    )  # fmt: skip
    add(
        "--output", type=Path, metavar="DIR",
        help=f"default: runs/study-{study}-DATE; trainings that are finished in it are kept, "
        "unfinished ones go on",
    )  # fmt: skip
    add("--no-mlflow", action="store_true", help="keep the run folders only")


def shared_changes(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The settings that the command changes in every row.

    Args:
        arguments: Parsed by a parser with `add_series_arguments`.

    Returns:
        `part.field=value`, those of `--set` last.
    """
    changes = [f"dataset.name={arguments.dataset}"]
    if arguments.source:
        changes.append(f"dataset.source={arguments.source}")
    if arguments.epochs is not None:
        changes.append(f"training.epochs={arguments.epochs}")
    if arguments.limit:
        changes.append(f"dataset.limit={arguments.limit}")
    return (*changes, *arguments.set)


@contextmanager
def parent_run(study: str, folder: Path, arguments: argparse.Namespace) -> Iterator[Tracker]:
    """The MLflow run that the trainings of a study are nested in; on leaving it gets the files.

    Args:
        study: Its name.
        folder: Its folder, which keeps the id of the run; files directly in it are stored.
        arguments: Parsed by a parser with `add_series_arguments`.

    Yields:
        Its tracker.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; the training is saved and goes on when asked again.
    """
    from fer_keras.training.callbacks import Interrupted

    params = {"name": f"study {study}", "changes": " ".join(shared_changes(arguments))}
    params["seeds"] = " ".join(map(str, arguments.seeds))
    tags = {"study": study, "git_commit": git_commit(), "run_dir": str(folder)}
    try:
        with tracked(
            folder,
            arguments.dataset,
            f"study {study}",
            params,
            tags,
            enabled=not arguments.no_mlflow,
        ) as tracker:
            yield tracker
            store_files(tracker, folder)
    except (Interrupted, KeyboardInterrupt):
        sys.stderr.write(f"Go on with the same command and --output {folder}\n")
        raise KeyboardInterrupt from None


def train_series(
    rows: Mapping[str, Row], folder: Path, arguments: argparse.Namespace, tracker: Tracker
) -> dict[str, list[Outcome]]:
    """Trains every row with every seed, row by row.

    Args:
        rows: Name -> row; the name is part of that of its run folders.
        folder: Of the study.
        arguments: Parsed by a parser with `add_series_arguments`.
        tracker: Of `parent_run`.

    Returns:
        Name -> the outcome of each seed.

    Raises:
        FerKerasError: The data set is missing, or a training failed.
    """
    import keras

    if arguments.split == "test":  # What is missing is said before hours of training.
        first = next(iter(rows.values()))
        splits.load_test(override(load_experiment(first.experiment), first.changes).dataset)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in rows}
    total, count = len(rows) * len(arguments.seeds), 0
    # Seed by seed, so that a study that is cut short has all rows of the first seeds.
    for seed in arguments.seeds:
        for name, row in rows.items():
            count += 1
            sys.stderr.write(f"\n{count} of {total}: {row.label}, seed {seed}\n")
            outcome = train_row(
                row,
                folder / f"{file_stem(name)}-seed{seed}",
                seed,
                track=not arguments.no_mlflow,
                split=arguments.split,
                parent_run_id=tracker.run_id,
            )
            tracker.log({f"{file_stem(name)}_accuracy": outcome.figures["accuracy"]}, seed)
            outcomes[name].append(outcome)
            # The networks of the finished rows would stay in memory.
            keras.utils.clear_session()
    return outcomes


def mean(outcomes: Outcomes, figure: str) -> float:
    """The mean of a figure of the result files over the seeds."""
    return statistics.fmean(outcome.figures[figure] for outcome in outcomes)


def accuracy_interval(outcomes: Outcomes) -> tuple[float, float, float]:
    """Mean accuracy over the seeds, and the ends of the 95 % Wilson interval of one run of it."""
    accuracy, n = mean(outcomes, "accuracy"), outcomes[0].figures["n"]
    low, high = wilson_interval(round(accuracy * n), n)
    return accuracy, low, high


def accuracy_cell(outcomes: Outcomes) -> str:
    """Accuracy with its interval, and with several seeds their standard deviation."""
    accuracy, low, high = accuracy_interval(outcomes)
    spread = ""
    if len(outcomes) > 1:
        spread = f" ± {statistics.stdev(o.figures['accuracy'] for o in outcomes):.4f}"
    return f"{accuracy:.4f}{spread} [{low:.4f}, {high:.4f}]"


def difference_cell(outcomes: Outcomes, baseline: Outcomes) -> str:
    """The mean gain in points over a baseline, and McNemar's p value of every seed.

    Args:
        outcomes: Of a row.
        baseline: Of the row it is compared with, seed by seed; itself for an empty cell.
    """
    if outcomes is baseline:
        return ""
    pairs = [paired_difference(*pair) for pair in zip(outcomes, baseline, strict=True)]
    p_values = ", ".join(f"{p_value:.2g}" for _, p_value in pairs)
    return f"{statistics.fmean(points for points, _ in pairs):+.2f} (p {p_values})"


def measured_on(outcomes: Mapping[str, Outcomes]) -> str:
    """On what a study measured, in words, with what has to be known of the epochs."""
    figures = next(iter(outcomes.values()))[0].figures
    chosen = "which also chose the epochs" if figures["split"] == "validation" else "read once"
    return (
        f"{figures['dataset']} {figures['split']} split ({figures['label_rule']}), n "
        f"{figures['n']:,}, {chosen}"
    )


def schedule(outcomes: Mapping[str, Outcomes]) -> str:
    """How long the rows were trained, in words."""
    trainings = [outcome.training for row in outcomes.values() for outcome in row]
    epochs = sorted({training["epochs"] for training in trainings})
    minutes = sum(training["training_minutes"] for training in trainings)
    passes = " or ".join(map(str, epochs))
    return f"{passes} epochs each; {len(trainings)} trainings, {minutes:.0f} minutes in all"


def plot_limits(shares: Sequence[float]) -> tuple[float, float]:
    """Ends of a scale around shares, at whole twentieths."""
    low, high = math.floor(20 * min(shares)) / 20, math.ceil(20 * max(shares)) / 20
    return max(0.0, low), min(1.0, high if high > low else low + 0.05)
