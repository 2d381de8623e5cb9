"""What a network of one data set is worth on another: as it is, and after fine-tuning there.

Trains the experiment on each data set, lets each network answer the held-out pictures of all
others (classes matched by their names), then fine-tunes it there, for as many passes as
--fine-tune-epochs. The matrix has a row for each data set that was learned first. A class that only
the target has cannot be answered without fine-tuning and counts as wrong; one that only the source
has is left out. FER2013 and FER+ are the same pictures: their transfer is one of labels.

examples:
  python -m fer_keras.study transfer --datasets ferplus synthetic_faces
  python -m fer_keras.study transfer --datasets affectnet ferplus rafdb --experiment ferplus_esr
  python -m fer_keras.study transfer --datasets ferplus rafdb --runs runs/A runs/B

files:
  transfer.md, .csv     the matrices: as it is, fine-tuned
  transfer.png          the same as a picture
  DATASET/, SOURCE-to-TARGET/   the run folders

On validation by default, which also chose the epochs; --split test reads the test splits once.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer_keras.common.errors import ConfigError
from fer_keras.common.files import write_text
from fer_keras.common.labels import class_name
from fer_keras.common.metrics import balanced_accuracy, wilson_interval
from fer_keras.data.load import describe
from fer_keras.evaluation.run_data import run_samples
from fer_keras.loading.classifier import in_channels
from fer_keras.loading.load import load_model
from fer_keras.reporting.plots import plot_intervals
from fer_keras.reporting.tables import markdown_table, write_csv
from fer_keras.studies.shared.output import output_folder
from fer_keras.studies.shared.series import parent_run
from fer_keras.studies.shared.trained_rows import Row, train_row


class Score(NamedTuple):
    """How well one network answers.

    Attributes:
        accuracy: 0..1.
        balanced: Balanced accuracy, 0..1.
        n: Pictures.
    """

    accuracy: float
    balanced: float
    n: int


# (source, target) -> score.
Matrix = dict[tuple[str, str], Score]

_PUBLISHED = (
    "Published (Siqueira et al. 2020, ESR-9 of full width): AffectNet to FER+ 57.92 % as it is, "
    "87.15 % fine-tuned, on test"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study.

    Args:
        parser: That of the command.
    """
    add = parser.add_argument
    add("--datasets", nargs="+", default=["ferplus", "synthetic_faces"], metavar="NAME")
    add("--experiment", default="ferplus_esr_small", metavar="NAME", help="(ferplus_esr_small)")
    add(
        "--runs", nargs="+", type=Path, default=[], metavar="RUN",
        help="finished runs of the data sets, in their order, in place of training them",
    )  # fmt: skip
    add("--seeds", type=int, nargs=1, default=[0], metavar="N", help="of all trainings (0)")
    add("--epochs", type=int, metavar="N", help="of the first trainings (as the experiment)")
    add("--fine-tune-epochs", type=int, default=3, metavar="N", help="0: no fine-tuning (3)")
    add("--limit", type=int, default=0, metavar="N", help="train on only N pictures")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="as train --set")
    add("--split", choices=("validation", "test"), default="validation")
    add(
        "--output", type=Path, metavar="DIR",
        help="default: runs/study-transfer-DATE; trainings that are finished in it are kept",
    )  # fmt: skip
    add("--no-mlflow", action="store_true", help="keep the run folders only")


def run(arguments: argparse.Namespace) -> str:
    """Does the study.

    Args:
        arguments: Parsed options.

    Returns:
        The matrices, as Markdown.

    Raises:
        ConfigError: Fewer than two data sets, or not a run for each.
        FerKerasError: A data set is missing, or a training failed.
    """
    names: list[str] = arguments.datasets
    if len(set(names)) < max(2, len(names)):
        raise ConfigError(f"--datasets: expected two or more. Received: {' '.join(names)}.")
    if arguments.runs and len(arguments.runs) != len(names):
        raise ConfigError(f"--runs: expected {len(names)}. Received: {len(arguments.runs)}.")
    folder = output_folder(arguments, "transfer")
    arguments.dataset, arguments.source = names[0], None
    seed = arguments.seeds[0]
    options: dict[str, Any] = {"track": not arguments.no_mlflow, "split": arguments.split}
    with parent_run("transfer", folder, arguments) as tracker:
        options["parent_run_id"] = tracker.run_id
        runs = dict(zip(names, arguments.runs, strict=False))
        zero_shot: Matrix = {}
        tuned: Matrix = {}
        for name in names:
            if name not in runs:
                row = Row(name, arguments.experiment, changes(arguments, name))
                outcome = train_row(row, folder / name, seed, **options)
                runs[name] = outcome.run_dir
        for source in names:
            for target in names:
                pair = (source, target)
                zero_shot[pair] = score(runs[source], runs[target], arguments.split)
                if source == target:
                    tuned[pair] = zero_shot[pair]
                elif arguments.fine_tune_epochs:
                    row = Row(
                        f"{source} to {target}",
                        arguments.experiment,
                        (
                            *changes(arguments, target),
                            f"network.weights={runs[source]}",
                            f"training.epochs={arguments.fine_tune_epochs}",
                        ),
                    )
                    outcome = train_row(row, folder / f"{source}-to-{target}", seed, **options)
                    figures = outcome.figures
                    tuned[pair] = Score(
                        figures["accuracy"], figures["balanced_accuracy"], figures["n"]
                    )
        text = write_report(folder, arguments, zero_shot, tuned)
    return f"{text}\n\nwritten to {folder}"


def changes(arguments: argparse.Namespace, dataset: str) -> tuple[str, ...]:
    """The settings of a training on one of the data sets.

    Args:
        arguments: Parsed options.
        dataset: Its name.

    Returns:
        `part.field=value`, those of `--set` last.
    """
    made = [f"dataset.name={dataset}"]
    if not describe(dataset).has_votes:
        made.append("dataset.label_rule=hard")
    if arguments.epochs is not None:
        made.append(f"training.epochs={arguments.epochs}")
    if arguments.limit:
        made.append(f"dataset.limit={arguments.limit}")
    return (*made, *arguments.set)


def score(source: Path, target: Path, split: str) -> Score:
    """How many held-out pictures of one run's data the network of another answers right.

    Args:
        source: Run folder of the network.
        target: Run folder whose data is answered, in the size of the network.
        split: `"validation"` or `"test"`.

    Returns:
        Accuracy, balanced accuracy and the number of pictures.
    """
    model = load_model(source)
    samples, _ = run_samples(target, split, model.image_shape[0])
    own = [class_name(name) for name in model.class_names]
    logits = model.logits(in_channels(np.asarray(samples.images), model.image_shape[2]))
    aligned = np.full((len(samples), len(samples.class_names)), -np.inf, np.float32)
    for column, name in enumerate(samples.class_names):
        if class_name(name) in own:
            aligned[:, column] = logits[:, own.index(class_name(name))]
    correct = aligned.argmax(axis=1) == samples.labels
    balanced = balanced_accuracy(correct, samples.labels)
    return Score(float(correct.mean()), balanced, len(samples))


def write_report(
    folder: Path, arguments: argparse.Namespace, zero_shot: Matrix, tuned: Matrix
) -> str:
    """Writes tables and figure, and returns the tables.

    Args:
        folder: Where to.
        arguments: Parsed options.
        zero_shot: Scores without fine-tuning.
        tuned: Scores after it, with those of the data set alone on the diagonal.

    Returns:
        Markdown.
    """
    names: Sequence[str] = arguments.datasets
    kinds: dict[str, Matrix] = {"As it is": zero_shot}
    if arguments.fine_tune_epochs:
        kinds[f"Fine-tuned, {arguments.fine_tune_epochs} epochs"] = tuned
    lines = [
        "# Transfer",
        "",
        f"{arguments.experiment} on the {arguments.split} splits"
        f"{', which also chose the epochs' if arguments.split == 'validation' else ''}; learned "
        "first (rows), measured on (columns): accuracy, 95 % Wilson interval, balanced accuracy. "
        f"On the diagonal: the data set alone. {_PUBLISHED}.",
    ]
    records = []
    for kind, matrix in kinds.items():
        rows = [[source, *(_cell(matrix[source, target]) for target in names)] for source in names]
        lines += ["", f"{kind}:", "", markdown_table(["Learned first", *names], rows)]
        for (source, target), value in matrix.items():
            low, high = _interval(value)
            records.append(
                {
                    "kind": kind, "source": source, "target": target,
                    "accuracy": value.accuracy, "low": low, "high": high,
                    "balanced_accuracy": value.balanced, "n": value.n,
                }
            )  # fmt: skip
    text = "\n".join(lines)
    write_text(folder / "transfer.md", text + "\n")
    write_csv(folder / "transfer.csv", records)
    _draw(folder / "transfer.png", names, kinds, f"{arguments.experiment}, {arguments.split}")
    return text


def _interval(value: Score) -> tuple[float, float]:
    return wilson_interval(round(value.accuracy * value.n), value.n)


def _cell(value: Score) -> str:
    low, high = _interval(value)
    return f"{value.accuracy:.4f} [{low:.4f}, {high:.4f}], {value.balanced:.4f}"


def _draw(path: Path, names: Sequence[str], kinds: Mapping[str, Matrix], subject: str) -> None:
    groups: dict[str, dict[str, tuple[float, float, float]]] = {kind: {} for kind in kinds}
    for kind, matrix in kinds.items():
        for target in names:
            for source in [target, *(name for name in names if name != target)]:
                value = matrix[source, target]
                label = f"{target} from {source}" if source != target else f"{target} alone"
                # The diagonal is the same in both.
                if source != target or kind == "As it is":
                    groups[kind][label] = (value.accuracy, *_interval(value))
    plot_intervals(
        groups, path, title="From one data set to another", note=f"Accuracy, 95 %; {subject}"
    )
