"""What augmentation brings: none, mirror and shift, CutMix, halves, MixUp, RandAugment.

Trains one network with each policy and the same budget of passes. CutMix and MixUp mix the targets
with the pictures, vote distributions too. Swapping the halves of two faces makes expressions that
are truly ambiguous, so the rectangles of CutMix stand beside a variant that only swaps eyes and
mouths. Accuracy while training is against the larger part of a mixture and says little; what is
measured here is on whole pictures.

examples:
  python -m fer_keras.study mixing
  python -m fer_keras.study mixing --epochs 5
  python -m fer_keras.study mixing --policies none light standard mix_up --seeds 0 1 2
  python -m fer_keras.study mixing --dataset synthetic_faces --epochs 8

files:
  mixing.md, .csv     a row for every policy
  mixing.png          accuracy with its interval
  mixing_errors.png   calibration error and loss
  mixing_faces.png    what each policy makes of drawn faces
  ROW-seedN/          the run folder of every training
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.common.files import write_text
from fer_keras.data.datasets.synthetic_faces import draw_samples
from fer_keras.reporting.bars import plot_bars
from fer_keras.reporting.plots import plot_intervals, plot_pictures
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
from fer_keras.studies.shared.trained_rows import Row

_EXPERIMENT = "ferplus_cel"
_LABELS = {
    "none": "none",
    "light": "mirror and shift (light)",
    "cut_mix": "light + CutMix",
    "cut_mix_halves": "light + halves of faces",
    "mix_up": "light + MixUp",
    "rand_augment": "mirror + RandAugment",
}
_SHOWN_FACES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the study.

    Args:
        parser: That of the command.
    """
    add_series_arguments(parser, "mixing", "ferplus")
    parser.add_argument(
        "--policies", nargs="+", default=list(_LABELS), metavar="POLICY",
        help="the first one is what the others are compared with (all of the study)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> str:
    """Does the study.

    Args:
        arguments: Parsed options.

    Returns:
        The table, as Markdown.

    Raises:
        ConfigError: An unknown policy.
        FerKerasError: The data set is missing, or a training failed.
    """
    from fer_keras.data.augmentation.policies import check_policy

    for name in arguments.policies:
        check_policy(name)
    folder = output_folder(arguments, "mixing")
    with parent_run("mixing", folder, arguments) as tracker:
        outcomes = train_series(rows(arguments), folder, arguments, tracker)
        _draw_faces(folder / "mixing_faces.png", arguments.policies)
        return write_report(folder, outcomes)


def rows(arguments: argparse.Namespace) -> dict[str, Row]:
    """What is trained.

    Args:
        arguments: Parsed options.

    Returns:
        Name of a policy -> row.
    """
    changes = shared_changes(arguments)
    return {
        name: Row(_LABELS.get(name, name), _EXPERIMENT, (*changes, f"augmentation={name}"))
        for name in dict.fromkeys(arguments.policies)
    }


def write_report(folder: Path, outcomes: Mapping[str, Outcomes]) -> str:
    """Writes table and figures, and returns the table.

    Args:
        folder: Where to.
        outcomes: Of `train_series`.

    Returns:
        Markdown.
    """
    first = next(iter(outcomes))
    header = (
        "", "accuracy [95 %]", f"against {first}", "balanced", "ECE", "NLL", "best epoch",
        "minutes",
    )  # fmt: skip
    table, records = [], []
    for name, row in outcomes.items():
        accuracy, low, high = accuracy_interval(row)
        label = row[0].row.label
        minutes = sum(each.training["training_minutes"] for each in row) / len(row)
        epochs = " ".join(f"{e.training['best_epoch']}/{e.training['epochs']}" for e in row)
        table.append([
            label, accuracy_cell(row), difference_cell(row, outcomes[first]),
            f"{mean(row, 'balanced_accuracy'):.4f}", f"{mean(row, 'ece'):.4f}",
            f"{mean(row, 'nll'):.4f}", epochs, f"{minutes:.1f}",
        ])  # fmt: skip
        records.append({
            "policy": name, "label": label,
            "seeds": " ".join(str(each.training["seed"]) for each in row),
            "n": row[0].figures["n"], "accuracy": accuracy, "low": low, "high": high,
            "balanced_accuracy": mean(row, "balanced_accuracy"), "ece": mean(row, "ece"),
            "nll": mean(row, "nll"), "best_epoch": epochs, "minutes": round(minutes, 2),
            "command": row[0].command,
        })  # fmt: skip
    subject = measured_on(outcomes)
    text = (
        f"Measured on {subject}; {schedule(outcomes)}. Differences in points on the same pictures "
        "(p: McNemar's exact test, one for each seed). A policy that makes the task harder needs "
        f"more passes: compare at the schedule you will train with.\n\n"
        f"{markdown_table(header, table)}"
    )
    write_text(folder / "mixing.md", text + "\n")
    write_csv(folder / "mixing.csv", records)
    _draw(folder, records, subject)
    return f"{text}\n\nwritten to {folder}"


def _draw(folder: Path, records: list[dict[str, Any]], subject: str) -> None:
    shown = {r["label"]: (r["accuracy"], r["low"], r["high"]) for r in records}
    ends = [end for _, *both in shown.values() for end in both]
    plot_intervals(
        {"95 % interval": shown}, folder / "mixing.png", title="What augmentation brings",
        note=subject, limits=plot_limits(ends),
    )  # fmt: skip
    plot_bars(
        {
            "calibration error (ECE)": {r["label"]: r["ece"] for r in records},
            "loss (NLL), nats": {r["label"]: r["nll"] for r in records},
        },
        folder / "mixing_errors.png", title="Sure and wrong: less is better", note=subject,
    )  # fmt: skip


def _draw_faces(path: Path, policies: Sequence[str]) -> None:
    """What each policy makes of drawn faces, with the two largest parts of every target."""
    import tensorflow as tf

    from fer_keras.data.augmentation.policies import build_policy

    faces = draw_samples("train", limit=_SHOWN_FACES)
    sheet = []
    for name in dict.fromkeys(policies):
        policy = build_policy(name, faces.images.shape[1:])
        images, targets = faces.images, faces.targets
        if policy is not None:
            seed = tf.constant([1, 1], tf.int32)
            changed, mixed = policy(tf.constant(images, tf.float32), tf.constant(targets), seed)
            images = np.asarray(tf.cast(tf.round(changed), tf.uint8))
            targets = np.asarray(mixed)
        captions = []
        for target in targets:
            best = [i for i in np.argsort(-target)[:2] if target[i] > 0.005]
            captions.append("\n".join(f"{faces.class_names[i]} {target[i]:.0%}" for i in best))
        sheet.append((_LABELS.get(name, name), list(images), captions))
    plot_pictures(sheet, path, title="Drawn faces and their targets", caption_lines=2)
