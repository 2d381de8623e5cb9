"""What follows the last epoch: evaluation, record, card, plots, champion."""

import json
from typing import Any

import numpy as np

from fer_keras.common.files import write_text
from fer_keras.common.progress import progress as bar
from fer_keras.data.load import describe
from fer_keras.data.samples import Samples
from fer_keras.evaluation.evaluate import evaluate
from fer_keras.loading.load import load_model
from fer_keras.reporting.card import card_of_run
from fer_keras.reporting.contact_sheet import plot_contact_sheet
from fer_keras.reporting.plots import plot_curves
from fer_keras.reporting.tables import read_csv
from fer_keras.tracking.champion import challenge, not_whole
from fer_keras.tracking.tracked import store_files
from fer_keras.tracking.tracker import TRACKED_FIGURES, Tracker, is_remote
from fer_keras.training.checkpoint import Progress
from fer_keras.training.record import RunRecord
from fer_keras.training.run_folder import name_best

# Faces that were read rightly and wrongly.
_SHEET = "examples_validation.png"


def finish(
    record: RunRecord,
    whole_train: Samples,
    progress: Progress,
    tracker: Tracker,
    *,
    is_part: bool,
) -> dict[str, Any]:
    """Evaluates the kept network and writes everything that a run folder ends with.

    Args:
        record: The facts of the run.
        whole_train: The training split with what was left out of it, for finding duplicates.
        progress: Of the finished training.
        tracker: Gets figures and files.
        is_part: Whether the run is nested in another, which says itself which part is the best.

    Returns:
        The content of `result.json`.

    Raises:
        ModelFileError: The kept network cannot be read.
    """
    experiment, run_dir, train = record.experiment, record.run_dir, record.train
    with bar("evaluating"):
        figures = evaluate(
            load_model(run_dir / "best.keras"),
            record.validation,
            train_samples=whole_train,
            output_dir=run_dir,
        )
    result = record.result(figures, progress)
    info = describe(experiment.dataset.name)
    card = card_of_run(experiment, info, result, train.images.shape[-3:], train.label_rule)
    write_text(run_dir / "card.md", card)
    title = f"{experiment.name} seed {experiment.seed}, {record.data}"
    plot_curves(run_dir / "metrics.jsonl", run_dir / "curves.png", title=title)
    answers = read_csv(run_dir / f"predictions_{record.validation.split}.csv")
    names = record.validation.class_names
    plot_contact_sheet(
        record.validation,
        np.array([[float(row[f"p_{name}"]) for name in names] for row in answers]),
        run_dir / _SHEET,
        title=f"{title}, validation: {figures['accuracy']:.1%} of {figures['n']:,} right",
    )
    named = name_best(run_dir, experiment.name, result["best_epoch"], figures)
    # The last file: by what it says of the training a run is known to be finished.
    write_text(run_dir / "result.json", json.dumps(result, indent=2) + "\n")
    scores = {f"best_{name}": round(figures[name], 5) for name in TRACKED_FIGURES}
    tracker.log(scores, result["best_epoch"])
    # Faces of a data set stay on this machine.
    private = is_remote() and not experiment.dataset.name.startswith("synthetic")
    store_files(tracker, run_dir, (named.name, _SHEET) if private else (named.name,))
    if tracker.active:
        tracker.log_model(run_dir, scores, record.tracked_data()[-1], result["best_epoch"])
        if not is_part:
            smaller = not_whole(experiment)
            line = f"champion  not challenged: {smaller}" if smaller else ""
            print(line or challenge(tracker, result))
    return result
