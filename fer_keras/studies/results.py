"""Where the results of a study go: its folder, tables, and the MLflow run of the model."""

import argparse
import csv
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from fer_keras.files import atomic_path
from fer_keras.studies.base import StudiedModel


def output_folder(arguments: argparse.Namespace, study: str) -> Path:
    """Makes the folder for the files of a study.

    Args:
        arguments: Parsed by a parser with `base.add_model_arguments`.
        study: Its name.

    Returns:
        `--output`, or `runs/study-NAME-DATE`.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder: Path = arguments.output or Path("runs") / f"study-{study}-{stamp}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def file_stem(name: str) -> str:
    """A name as part of a file's name: small letters, digits and `_`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown whose columns also line up on a terminal.

    Args:
        header: Names of the columns.
        rows: Cells; the first column is aligned left, the others right.

    Returns:
        Lines joined by newlines, without a last newline.
    """
    # Two, because the rule of a column is at least "-:".
    widths = [max(2, *(len(row[i]) for row in (header, *rows))) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *rest = cells
        padded = [first.ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(header), line(rule), *(line(row) for row in rows)])


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replaces a csv file in one step.

    Args:
        path: The file.
        rows: At least one; the keys of the first one are the columns.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def track(
    model: StudiedModel,
    study: str,
    steps: Mapping[int, Mapping[str, float]],
    files: Sequence[Path],
    studied_on: str,
) -> bool:
    """Adds a study to the MLflow run of the training that a model came from.

    Args:
        model: A model of `base.load_models`.
        study: Name of the study: metrics are called `study/METRIC`, its files lie in a folder
            `study`, and the tag `study_on` says on what it was done. The exports of a run share
            its MLflow run, so for them it is `study_PRECISION`.
        steps: Step -> metric -> value; MLflow draws a metric over the steps.
        files: Stored with the run.
        studied_on: Data set, split, label rule and number of pictures.

    Returns:
        Whether the run was found and everything was written.
    """
    from fer_keras.tracking import Tracker

    tracker = Tracker(bool(model.mlflow_run_id))
    if not tracker.attach(model.mlflow_run_id):
        return False
    if model.path.suffix == ".tflite":
        study = f"{study}_{model.path.stem.removeprefix('model_')}"
    for step, figures in steps.items():
        tracker.log({f"{study}/{name}": value for name, value in figures.items()}, step)
    tracker.set_tags({f"{study}_on": studied_on})
    for file in files:
        tracker.artifact(file, study)
    return tracker.active
