"""Which way to read the votes of several annotators: MV, ML, PLD, CEL and KL on FER+.

Trains one network by each scheme of Barsoum et al. (ICMI 2016, section 3) and by the divergence of
label distribution learning, with the label rule that belongs to it: so each trains on another
number of pictures. All are measured on the same ones, by the majority label, whatever they were
trained with; and on all pictures whose strongest answer is an emotion, doubtful ones too, by how
far the probabilities are from the shares of the votes. KL and CEL have the same gradient: what
differs between their rows is that KL takes all votes as they are.

examples:
  python -m fer_keras.study votes
  python -m fer_keras.study votes --epochs 5
  python -m fer_keras.study votes --set network.name=vgg13 --set dataset.image_size=64 --seeds 0 1 2
  python -m fer_keras.study votes --dataset synthetic_faces --epochs 8

files:
  votes.md, .csv      a row for every scheme, the published figures in a column of their own
  votes.png           accuracy with its interval, and the published one
  votes_distances.png calibration error and distance to the votes
  ROW-seedN/          the run folder of every training
"""

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.files import write_text
from fer_keras.common.labels import name_mapping
from fer_keras.common.metrics import softmax
from fer_keras.config import load_experiment
from fer_keras.data.load import load_samples
from fer_keras.loading.load import load_model
from fer_keras.reporting.bars import plot_bars
from fer_keras.reporting.plots import plot_intervals
from fer_keras.reporting.tables import markdown_table, write_csv
from fer_keras.studies.shared.output import output_folder
from fer_keras.studies.shared.series import (
    Outcomes,
    accuracy_cell,
    accuracy_interval,
    add_series_arguments,
    difference_cell,
    mean,
    measured_on,
    parent_run,
    plot_limits,
    schedule,
    shared_changes,
    train_series,
)
from fer_keras.studies.shared.trained_rows import Outcome, Row

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples

# Mean and standard deviation of five runs of VGG13 at 64 pixels on PrivateTest.
_PUBLISHED = {"mv": (83.85, 0.63), "ml": (83.97, 0.36), "pld": (84.99, 0.37), "cel": (84.72, 0.24)}
_ROWS = {
    "mv": ("MV: the majority", "ferplus_majority"),
    "ml": ("ML: any of several", "ferplus_ml"),
    "pld": ("PLD: one drawn each step", "ferplus_pld"),
    "cel": ("CEL: cross-entropy", "ferplus_cel"),
    "kl": ("KL: all votes as they are", "ferplus_kl"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study.

    Args:
        parser: That of the command.
    """
    add_series_arguments(parser, "votes", "ferplus")
    parser.add_argument(
        "--schemes", nargs="+", choices=tuple(_ROWS), default=list(_ROWS), help="default: all"
    )


def run(arguments: argparse.Namespace) -> str:
    """Does the study.

    Args:
        arguments: Parsed options.

    Returns:
        The table, as Markdown.

    Raises:
        FerKerasError: The data set is missing or has no votes, or a training failed.
    """
    folder = output_folder(arguments, "votes")
    with parent_run("votes", folder, arguments) as tracker:
        outcomes = train_series(rows(arguments), folder, arguments, tracker)
        samples = _all_votes(next(iter(outcomes.values()))[0], arguments.split)
        distances = {
            name: [vote_distances(_probabilities(each, samples), samples.targets) for each in row]
            for name, row in outcomes.items()
        }
        return write_report(folder, outcomes, distances, samples)


def rows(arguments: argparse.Namespace) -> dict[str, Row]:
    """What is trained.

    Args:
        arguments: Parsed options.

    Returns:
        Name of a scheme -> row.
    """
    changes = shared_changes(arguments)
    made = {}
    for name in arguments.schemes:
        label, experiment = _ROWS[name]
        middle, spread = _PUBLISHED.get(name, (0.0, 0.0))
        if arguments.dataset != "ferplus":
            middle = 0.0  # Nothing was published of other data.
        published = f"{middle / 100:.4f} ± {spread / 100:.4f}" if middle else ""
        made[name] = Row(label, experiment, changes, published)
    return made


def vote_distances(
    probabilities: npt.NDArray[np.float64], shares: npt.NDArray[np.floating[Any]]
) -> tuple[float, float]:
    """How far predicted distributions are from those of the votes.

    Args:
        probabilities: `(n, classes)`, rows sum to 1.
        shares: `(n, classes)`, shares of the votes.

    Returns:
        Means over the pictures: the Kullback-Leibler divergence of the probabilities from the
        shares, in nats, and the total variation distance, 0..1.
    """
    votes = shares.astype(np.float64)
    ratio = np.where(votes > 0, votes, 1.0) / np.maximum(probabilities, 1e-12)
    divergence = np.where(votes > 0, votes * np.log(ratio), 0.0).sum(axis=1)
    return float(divergence.mean()), float(np.abs(votes - probabilities).sum(axis=1).mean() / 2)


def _all_votes(outcome: Outcome, split: str) -> "Samples":
    """The pictures of a split whose strongest answer is an emotion, with shares of the votes."""
    config = load_experiment(str(outcome.run_dir)).dataset
    return load_samples(
        config.name, split, label_rule="distribution", image_size=config.image_size,
        channels=config.channels, source=config.source or None,
    )  # fmt: skip


def _probabilities(outcome: Outcome, samples: "Samples") -> npt.NDArray[np.float64]:
    """The plain softmax, in the order of the classes of the samples."""
    import keras

    model = load_model(outcome.run_dir)
    columns = list(name_mapping(model.class_names, samples.class_names))
    probabilities = softmax(model.logits(samples.images)[:, columns])
    keras.utils.clear_session()
    return probabilities


def write_report(
    folder: Path,
    outcomes: Mapping[str, Outcomes],
    distances: Mapping[str, list[tuple[float, float]]],
    samples: "Samples",
) -> str:
    """Writes table and figures, and returns the table.

    Args:
        folder: Where to.
        outcomes: Of `train_series`.
        distances: Of `vote_distances`, for each row one of each seed.
        samples: What the distances were measured on.

    Returns:
        Markdown.
    """
    first = next(iter(outcomes))
    header = (
        "", "train n", "accuracy [95 %]", f"against {first.upper()}", "balanced", "ECE",
        "KL to votes", "TV to votes", "published, VGG13 on PrivateTest",
    )  # fmt: skip
    table, records = [], []
    for name, row in outcomes.items():
        divergence, variation = (
            statistics.fmean(values) for values in zip(*distances[name], strict=True)
        )
        accuracy, low, high = accuracy_interval(row)
        label = row[0].row.label
        table.append([
            label, f"{row[0].training['train_images']:,}", accuracy_cell(row),
            difference_cell(row, outcomes[first]), f"{mean(row, 'balanced_accuracy'):.4f}",
            f"{mean(row, 'ece'):.4f}", f"{divergence:.4f}", f"{variation:.4f}",
            row[0].row.published,
        ])  # fmt: skip
        records.append({
            "scheme": name, "label": label, "train_images": row[0].training["train_images"],
            "seeds": " ".join(str(each.training["seed"]) for each in row),
            "n": row[0].figures["n"], "accuracy": accuracy, "low": low, "high": high,
            "balanced_accuracy": mean(row, "balanced_accuracy"), "ece": mean(row, "ece"),
            "nll": mean(row, "nll"), "kl_to_votes": divergence, "tv_to_votes": variation,
            "votes_n": len(samples), "published": row[0].row.published, "command": row[0].command,
        })  # fmt: skip
    one_hot = np.eye(samples.targets.shape[1])[samples.labels]
    certain = vote_distances(one_hot, samples.targets)[1]
    subject = measured_on(outcomes)
    text = (
        f"Measured on {subject}; {schedule(outcomes)}. Differences in points on the same pictures "
        "(p: McNemar's exact test, one for each seed). KL and total variation (TV) to the votes: "
        f"{len(samples):,} pictures, doubtful ones too; the strongest answer with probability 1 "
        f"would be {certain:.4f} away (TV). Published: another network, other pictures, 100 "
        f"epochs, mean and deviation of five runs.\n\n{markdown_table(header, table)}"
    )
    write_text(folder / "votes.md", text + "\n")
    write_csv(folder / "votes.csv", records)
    _draw(folder, outcomes, records, subject)
    return f"{text}\n\nwritten to {folder}"


def _draw(
    folder: Path, outcomes: Mapping[str, Outcomes], records: list[dict[str, Any]], subject: str
) -> None:
    shown: dict[str, dict[str, tuple[float, float, float]]] = {"here, 95 % interval": {}}
    published = shown.setdefault("published ± deviation", {})
    for name, row in outcomes.items():
        label = row[0].row.label
        shown["here, 95 % interval"][label] = accuracy_interval(row)
        if row[0].row.published:
            middle, spread = (value / 100 for value in _PUBLISHED[name])
            published[label] = (middle, middle - spread, middle + spread)
    shown = {group: values for group, values in shown.items() if values}
    ends = [end for values in shown.values() for _, *both in values.values() for end in both]
    plot_intervals(
        shown, folder / "votes.png", title="Five ways to read the votes", note=subject,
        limits=plot_limits(ends),
    )  # fmt: skip
    figures = {"calibration error (ECE)": "ece", "KL to the votes, nats": "kl_to_votes",
               "TV to the votes": "tv_to_votes"}  # fmt: skip
    plot_bars(
        {title: {r["label"]: r[key] for r in records} for title, key in figures.items()},
        folder / "votes_distances.png", title="Sure and right about doubt: less is better",
        note=subject,
    )  # fmt: skip
