"""Which neutral face a difference of embeddings should get, and how much it matters which one.

Trains, on one frozen encoder, a head that reads the face alone and, for every rule by which a
neutral face is chosen, one that reads the difference too. Each is then given other neutral faces by
the same rule: the spread of its accuracy is what the choice of the partner alone changes. People of
the test split are in no other.

examples:
  python -m fer_keras.study pairing
  python -m fer_keras.study pairing --encoder runs/NAME --image-size 48 --partners 10
  python -m fer_keras.study pairing --dataset ctbc --encoder mobilenet_v3_large

files:
  pairing.md, .csv   a row for every rule
  pairing.png        accuracy of every rule, a point for each choice of partners
  RUN/               the run folder of every row
"""

import argparse
import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fer_keras.common.errors import ConfigError
from fer_keras.common.files import write_text
from fer_keras.config import load_experiment
from fer_keras.data import splits
from fer_keras.data.load import describe
from fer_keras.loading.load import load_model
from fer_keras.reporting.plots import plot_intervals
from fer_keras.reporting.tables import markdown_table, write_csv
from fer_keras.studies.shared.output import output_folder
from fer_keras.studies.shared.trained_rows import (
    SMALL_ENCODER,
    Outcome,
    Row,
    add_training_arguments,
    header,
    outcome_cells,
    studied_on,
    train_row,
)

_BUILT_IN = "synthetic_faces"
_RULES = {
    "same_subject": "the same person, another picture",
    "same_session": "the same person, same pose and light",
    "random_neutral": "a random person of train",
    "mean_neutral": "the mean of train",
}
_HEAD = ("network.options.hidden=[64,32]", "training.batch_size=64")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study.

    Args:
        parser: That of the command.
    """
    add_training_arguments(parser, "pairing")
    parser.add_argument(
        "--encoder", metavar="RUN",
        help="run folder, .keras file or name of an encoder; default: a small emotion encoder is "
        "trained first",
    )  # fmt: skip
    parser.add_argument("--dataset", default=_BUILT_IN, help=f"default: {_BUILT_IN}")
    parser.add_argument(
        "--image-size", type=int, default=128, metavar="PIXELS",
        help="side of the pictures (128, as published; the built-in faces have 48)",
    )  # fmt: skip
    parser.add_argument("--channels", type=int, choices=(1, 3), default=1, help="1 = grey (1)")
    parser.add_argument(
        "--partners", type=int, default=5, metavar="N", help="choices of partners to compare (5)"
    )


def run(arguments: argparse.Namespace) -> str:
    """Does the study.

    Args:
        arguments: Parsed options.

    Returns:
        The table, as Markdown.

    Raises:
        ConfigError: Fewer than two choices of partners.
        FerKerasError: The data set is missing or knows no people, or a training failed.
    """
    if arguments.partners < 2:
        raise ConfigError(f"--partners: expected 2 or more. Received: {arguments.partners}.")
    folder = output_folder(arguments, "pairing")
    data = (
        f"dataset.name={arguments.dataset}",
        f"dataset.image_size={arguments.image_size}",
        f"dataset.channels={arguments.channels}",
        # Nobody may be on both sides; the built-in faces are divided so already.
        *(() if arguments.dataset == _BUILT_IN else ("dataset.split=subjects",)),
    )
    track = not arguments.no_mlflow
    encoder = arguments.encoder
    if encoder is None:
        first = Row("encoder", "affectnet_small_emotion_encoder", (*data, *SMALL_ENCODER))
        encoder = str(train_row(first, folder / "encoder", arguments.seed, track=track).run_dir)
    outcomes = {
        name: train_row(row, folder / name, arguments.seed, track=track)
        for name, row in rows(data, encoder, arguments.dataset == _BUILT_IN).items()
    }
    spreads = {
        name: partner_accuracies(outcome.run_dir, arguments.partners)
        for name, outcome in outcomes.items()
        if name in _RULES
    }
    return write_report(folder, outcomes, spreads)


def rows(data: Sequence[str], encoder: str, built_in: bool) -> dict[str, Row]:
    """What is trained.

    Args:
        data: Settings of the data set.
        encoder: Name or path of the frozen encoder.
        built_in: Whether the data set is the built-in faces, which alone have sessions.

    Returns:
        Name of a run folder -> row; `face` is the baseline.
    """
    common = (*data, *_HEAD, f"network.options.encoder={encoder}")
    experiment = "affectnet_small_disentangled"
    made = {"face": Row("no neutral face", experiment, (*common, "network.options.reads=face"))}
    for rule, label in _RULES.items():
        if built_in or rule != "same_session":
            made[rule] = Row(label, experiment, (*common, f"dataset.neutral={rule}"))
    return made


def partner_accuracies(run_dir: Path, count: int) -> list[float]:
    """The accuracy of one trained network with other neutral faces by the rule of its training.

    Args:
        run_dir: Of a pair network.
        count: Number of choices.

    Returns:
        Accuracies 0..1 on the test split, validation where there is none; a single one for a rule
        that leaves no choice.
    """

    experiment = load_experiment(str(run_dir))
    config = experiment.dataset
    model = load_model(run_dir)
    fixed = config.neutral in ("mean_neutral", "same_session")
    has_test = config.split != "official" or "test" in describe(config.name).splits
    accuracies = []
    for seed in range(1 if fixed else count):
        chosen = replace(config, neutral_seed=seed)
        if has_test:
            samples = splits.load_test(chosen, experiment.seed)
        else:
            _, samples, _ = splits.load_splits(chosen, experiment.seed)
        predicted = model.logits(samples.images).argmax(axis=1)
        accuracies.append(float((predicted == samples.labels).mean()))
    return accuracies


def write_report(
    folder: Path, outcomes: dict[str, Outcome], spreads: dict[str, list[float]]
) -> str:
    """Writes table and figure, and returns the table.

    Args:
        folder: Where to.
        outcomes: Of `rows`, by name.
        spreads: Accuracies of other partners, by name.

    Returns:
        Markdown.
    """
    columns = (*header("face alone")[:4], "other partners: mean ± spread (n)")
    table, records = [], []
    for name, outcome in outcomes.items():
        found = spreads.get(name, [])
        spread = ""
        if len(found) > 1:
            mean, deviation = statistics.fmean(found), statistics.stdev(found)
            spread = f"{mean:.3f} ± {deviation:.3f} ({len(found)})"
        table.append([*outcome_cells(outcome, outcomes["face"])[:4], spread])
        low, high = outcome.figures["accuracy_interval"]
        records.append(
            {
                "rule": name, "accuracy": outcome.figures["accuracy"], "low": low, "high": high,
                "balanced_accuracy": outcome.figures["balanced_accuracy"],
                "n": outcome.figures["n"], "partners": " ".join(f"{value:.4f}" for value in found),
                "command": outcome.command,
            }
        )  # fmt: skip
    subject = studied_on(list(outcomes.values()))
    text = (
        f"Measured on {subject}. Each head is compared with the one that reads the face alone, in "
        "points on the same pictures (p: McNemar's exact test). Published for CTBC at 128 pixels "
        f"as a picture only, so no figure stands beside these.\n\n{markdown_table(columns, table)}"
    )
    write_text(folder / "pairing.md", text + "\n")
    write_csv(folder / "pairing.csv", records)
    _draw(folder / "pairing.png", outcomes, spreads, subject)
    return f"{text}\n\nwritten to {folder}"


def _draw(
    path: Path, outcomes: dict[str, Outcome], spreads: dict[str, list[float]], subject: str
) -> None:
    shown: dict[str, dict[str, tuple[float, float, float]]] = {
        "95 % interval": {}, "range of other partners": {}
    }  # fmt: skip
    for name, outcome in outcomes.items():
        low, high = outcome.figures["accuracy_interval"]
        shown["95 % interval"][outcome.row.label] = (outcome.figures["accuracy"], low, high)
        found = spreads.get(name, [])
        if len(found) > 1:
            middle = statistics.fmean(found)
            shown["range of other partners"][outcome.row.label] = (middle, min(found), max(found))
    ends = [end for group in shown.values() for _, *both in group.values() for end in both]
    limits = (math.floor(10 * min(ends)) / 10, math.ceil(10 * max(ends)) / 10)
    title = "Which neutral face stands beside the face"
    plot_intervals(shown, path, title=title, note=subject, limits=limits)
