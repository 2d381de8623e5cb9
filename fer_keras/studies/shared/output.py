"""Where the results of a study go: its folder, tables, and the MLflow run of the model."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from fer_keras.loading.classifier import LoadedModel
from fer_keras.studies.shared.models import run_of
from fer_keras.tracking.tracker import Tracker


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


def track(
    model: LoadedModel,
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
    tracker = Tracker(bool(run_of(model)))
    if not tracker.attach(run_of(model)):
        return False
    if model.path.suffix == ".tflite":
        study = f"{study}_{model.path.stem.removeprefix('model_')}"
    for step, figures in steps.items():
        tracker.log({f"{study}/{name}": value for name, value in figures.items()}, step)
    tracker.set_tags({f"{study}_on": studied_on})
    for file in files:
        tracker.artifact(file, study)
    return tracker.active
