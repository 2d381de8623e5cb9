"""Rows of a study that are trainings: a shipped experiment each, with some settings changed."""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fer_keras.common.files import read_json
from fer_keras.common.significance import mcnemar
from fer_keras.config import Experiment, load_experiment, override
from fer_keras.data.load import describe
from fer_keras.evaluation.evaluate import evaluate
from fer_keras.evaluation.run_data import run_samples
from fer_keras.reporting.tables import read_csv

# The built-in faces in their own size.
BUILT_IN = ("dataset.name=synthetic_faces", "dataset.image_size=48", "dataset.channels=1")
# An emotion encoder of 8-16-32-64 channels beside a random one of 8-16-32, for two cores.
SMALL_ENCODER = (
    "augmentation=standard",
    "network.options.encoder=compact",
    'network.options.encoder_options={"stem_filters":8,"widths":[16,32,64]}',
    "network.options.identity=compact",
    'network.options.identity_options={"stem_filters":8,"widths":[16,32],"depths":[1,1]}',
    "network.options.hidden=[64]",
    "training.optimizer=adamw",
    "training.learning_rate=0.004",
    "training.weight_decay=0.05",
    "training.batch_size=64",
    "training.epochs=24",
)


@dataclass(frozen=True)
class Row:
    """What one row trains.

    Attributes:
        label: For the table.
        experiment: Name of a shipped experiment.
        changes: `part.field=value`, as after `--set`.
        published: Figure of the source, on its own data; empty where there is none.
    """

    label: str
    experiment: str
    changes: tuple[str, ...] = ()
    published: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a row.

    Attributes:
        row: What was trained.
        run_dir: Its run folder.
        figures: The content of its result file on the split that took no part in training.
        training: The content of its `result.json`.
        right: Source of a picture -> whether it was answered right.
        command: The command that trains it alone.
    """

    row: Row
    run_dir: Path
    figures: Mapping[str, Any]
    training: Mapping[str, Any]
    right: Mapping[str, bool]
    command: str


def add_training_arguments(parser: argparse.ArgumentParser, study: str) -> None:
    """Adds the options of a study that trains.

    Args:
        parser: That of the study.
        study: Its name.
    """
    parser.add_argument("--seed", type=int, default=0, help="of all trainings (0)")
    parser.add_argument(
        "--output", type=Path, metavar="DIR",
        help=f"default: runs/study-{study}-DATE; trainings that are finished in it are kept",
    )  # fmt: skip
    parser.add_argument("--no-mlflow", action="store_true", help="keep the run folders only")


def train_row(
    row: Row,
    run_dir: Path,
    seed: int,
    *,
    track: bool,
    split: str = "",
    parent_run_id: str = "",
) -> Outcome:
    """Trains a row, unless its folder holds the finished run, and scores it.

    Args:
        row: What to train.
        run_dir: Its run folder.
        seed: Of the training.
        track: Whether MLflow gets the run.
        split: `"validation"` or `"test"`; empty for test, or validation where the data set has no
            test split.
        parent_run_id: The MLflow run that this one is nested in.

    Returns:
        The outcome on the split.
    """
    from fer_keras.training.stages.run_stages import run_stages

    experiment = replace(override(load_experiment(row.experiment), row.changes), seed=seed)
    words = [word for change in row.changes for word in ("--set", change)]
    command = shlex.join(
        ["python", "-m", "fer_keras.train", "--exp", row.experiment, *words, "--seed", str(seed)]
    )
    if not _is_finished(run_dir, experiment):
        started = (run_dir / "experiment.json").is_file()
        run_stages(
            experiment,
            run_dir,
            resume=started,
            command=command,
            track=track,
            parent_run_id=parent_run_id,
            part=row.label if parent_run_id else "",
        )
    if not split:
        split = "test" if "test" in describe(experiment.dataset.name).splits else "validation"
    result_file = run_dir / ("result_test.json" if split == "test" else "result.json")
    if not result_file.is_file():
        samples, train = run_samples(run_dir, split)
        evaluate(run_dir, samples, train_samples=train, output_dir=run_dir)
    lines = read_csv(run_dir / f"predictions_{split}.csv")
    right = {line["source"]: line["true"] == line["predicted"] for line in lines}
    training = read_json(run_dir / "result.json")
    return Outcome(row, run_dir, read_json(result_file), training, right, command)


def _is_finished(run_dir: Path, experiment: Experiment) -> bool:
    if not (run_dir / "result.json").is_file():
        return False
    there = load_experiment(str(run_dir))
    # The paths of earlier stages stand in the places of their names.
    return replace(there, network=experiment.network, growth=experiment.growth) == experiment


def outcome_cells(outcome: Outcome, baseline: Outcome | None) -> list[str]:
    """The cells of an outcome: accuracies, difference to a baseline, what was trained.

    Args:
        outcome: Of `train_row`.
        baseline: What it is compared with on the same pictures; None for no comparison.

    Returns:
        Label, accuracy with its 95 % Wilson interval, balanced accuracy, difference of accuracy in
        points with the p value of McNemar's exact test, trained parameters, minutes, published
        figure.
    """
    low, high = outcome.figures["accuracy_interval"]
    difference = ""
    if baseline is not None and baseline is not outcome:
        points, p_value = paired_difference(outcome, baseline)
        difference = f"{points:+.1f} (p {p_value:.2g})"
    return [
        outcome.row.label,
        f"{outcome.figures['accuracy']:.3f} [{low:.3f}, {high:.3f}]",
        f"{outcome.figures['balanced_accuracy']:.3f}",
        difference,
        f"{outcome.training['trainable_parameters']:,}",
        f"{outcome.training['training_minutes']:.1f}",
        outcome.row.published,
    ]


def paired_difference(outcome: Outcome, baseline: Outcome) -> tuple[float, float]:
    """What an outcome gains over another one on the same pictures.

    Args:
        outcome: Of `train_row`.
        baseline: What it is compared with.

    Returns:
        Difference of accuracy in points, and the p value of McNemar's exact test.
    """
    gained = sum(ok and not baseline.right[source] for source, ok in outcome.right.items())
    lost = sum(baseline.right[source] and not ok for source, ok in outcome.right.items())
    return 100 * (gained - lost) / len(outcome.right), mcnemar(gained, lost)


def header(baseline: str) -> tuple[str, ...]:
    """The header over `outcome_cells`.

    Args:
        baseline: With what the outcomes are compared.
    """
    compared = f"against {baseline}"
    return ("", "accuracy [95 %]", "balanced", compared, "trained", "minutes", "published")


def studied_on(outcomes: Sequence[Outcome]) -> str:
    """On what the outcomes were measured, in words."""
    figures = outcomes[0].figures
    return (
        f"{figures['dataset']} {figures['split']} split ({figures['label_rule']}), n "
        f"{figures['n']:,}; the epoch was chosen on validation"
    )
