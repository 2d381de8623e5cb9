"""The comparison as Markdown, CSV and one HTML page that loads nothing.

The page holds no picture of the data set, so it may be passed on. Its HTML is
`common/templates/comparison.html`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_keras.common.files import write_text
from fer_keras.common.html_page import png_uri, render
from fer_keras.reporting.tables import markdown_table
from fer_keras.studies.comparison.scores import Pair

_PUBLISHED = Path(__file__).with_name("published.json")

Row = Mapping[str, Any]


def _interval(row: Row) -> str:
    return f"{row['accuracy']:.4f} [{row['accuracy_low']:.4f}, {row['accuracy_high']:.4f}]"


def _with_n(accuracy: str, n: str) -> Callable[[Row], str]:
    return lambda row: "" if row[accuracy] is None else f"{row[accuracy]:.4f} (n {row[n]:,})"


def _number(key: str, form: str, scale: float = 1.0) -> Callable[[Row], str]:
    return lambda row: "" if row[key] is None else format(row[key] * scale, form)


# Heading, what stands in the cell, by which value the page sorts, what the column means.
_COLUMNS: tuple[tuple[str, Callable[[Row], str], str, str], ...] = (
    ("Accuracy [95 %]", _interval, "accuracy", "share of right answers, Wilson interval"),
    (
        "Classes it knows", _with_n("accuracy_known_only", "n_known_only"), "accuracy_known_only",
        "without pictures of classes that the model has no output for; empty where it knows all",
    ),
    (
        "Without duplicates", _with_n("accuracy_without_duplicates", "n_without_duplicates"),
        "accuracy_without_duplicates",
        "without pictures whose exact pixels also occur in the training split",
    ),
    (
        "Balanced", _number("balanced_accuracy", ".4f"), "balanced_accuracy",
        "mean recall of the classes",
    ),
    ("Macro F1", _number("macro_f1", ".4f"), "macro_f1", "mean F1 of the classes"),
    (
        "ECE", _number("ece", ".4f"), "ece",
        "calibration error in 15 bins, of the probabilities as the model gives them",
    ),
    (
        "NLL", _number("nll", ".4f"), "nll",
        "cross-entropy in nats; of the pictures whose class the model knows",
    ),
    (
        "Soft accuracy", _number("soft_accuracy", ".4f"), "soft_accuracy",
        "mean share of a picture's annotators who gave the model's answer",
    ),
    (
        "KL to votes", _number("kl", ".4f"), "kl",
        "mean of KL(votes || probabilities) in nats, over the classes that the model knows",
    ),
    (
        "Parameters", _number("parameters", ",.0f"), "parameters",
        "trainable ones; of another project's TFLite or ONNX file, the weights in it",
    ),
    ("MACs, M", _number("macs", ",.1f", 1e-6), "macs", "multiply-accumulates for one face, counted "
     "over the graph that is timed"),
    ("Size, kB", _number("bytes", ",.0f", 1e-3), "bytes", "of the model file"),
    (
        "ms per face", _number("ms_per_face", ".2f"), "ms_per_face",
        "median on one thread, all models in turns; of a Keras file, as a float32 TFLite file",
    ),
    (
        "Images/s in training", _number("training_images_per_second", ",.0f"),
        "training_images_per_second", "from the record of its training",
    ),
    (
        "Training, min", _number("training_minutes", ",.0f"), "training_minutes",
        "from the record of its training; other work may have shared the machine",
    ),
    ("Published", lambda row: row["published"], "", "by others, on another split; not measured "
     "here"),
)  # fmt: skip


def published(dataset: str, key: str) -> str:
    """The published figure that stands beside a model.

    Args:
        dataset: Name of the data set.
        key: Name of an experiment or of a card.

    Returns:
        Figure, model, split and source, or `""`.
    """
    content = json.loads(_PUBLISHED.read_text(encoding="utf-8"))
    for figure in content["figures"]:
        if figure["dataset"] == dataset and key in figure["keys"]:
            split = f" {figure['split']}" if figure["split"] else ""
            return f"{figure['accuracy']:.4g}{split}, {figure['model']} ({figure['source']})"
    return ""


def facts(record: Mapping[str, Any]) -> list[str]:
    """What was compared how, a sentence each.

    Args:
        record: The content of `comparison.json`.
    """
    held = (
        "Runs of ours on this data set chose their epoch and fitted their temperature on this split"
        if record["split"] == "validation"
        else "This split took no part in the training of any run of ours"
    )
    duplicates = record["num_duplicates"]
    lines = [
        f"{len(record['models'])} models on the same {record['n']:,} pictures of "
        f"{record['dataset']}, {record['split']} split, label rule {record['label_rule']}. "
        f"{held}.",
        f"{record['machine']}. {record['date']}, commit {record['git_commit']}.",
    ]
    if duplicates is not None:
        lines[0] += f" {duplicates:,} of them also occur, pixel for pixel, in the training split."
    lines += [f"Note: {note}." for note in record["dataset_notes"]]
    if any(row.get("prior", "training") != "training" for row in record["models"]):
        priors = ", ".join(f"{row['name']} {row['prior']}" for row in record["models"])
        lines.append(f"Class prior of the answers (`training` = the model as it is): {priors}.")
    return lines + [
        f"{row['name']} is not timed: {row['not_timed']}"
        for row in record["models"]
        if row["not_timed"]
    ]


def main_table(rows: Sequence[Row]) -> str:
    """The table in Markdown; columns in which nothing is known are left out."""
    columns = _used(rows)
    cells = [[row["name"], *(cell(row) for _, cell, _, _ in columns)] for row in rows]
    return markdown_table(["Model", *(head for head, _, _, _ in columns)], cells)


def pair_table(pairs: Sequence[Pair]) -> str:
    """Any two models in Markdown."""
    head = ["First", "second", "only the first right", "only the second", "differ, both wrong",
            "p", "p (Holm)"]  # fmt: skip
    cells = [
        [
            pair.first, pair.second, f"{pair.only_first:,}", f"{pair.only_second:,}",
            f"{pair.neither:,}", _p(pair.p_value), _p(pair.p_holm),
        ]
        for pair in pairs
    ]  # fmt: skip
    return markdown_table(head, cells)


def annotator_lines(ceiling: Mapping[str, float] | None) -> list[str]:
    """What the annotators' own disagreement allows, in sentences."""
    if ceiling is None:
        return []
    return [
        f"Annotators ({ceiling['n']:,.0f} pictures, raw votes for the emotions, no outlier left "
        f"out): two of a picture agree with probability {ceiling['one_annotator']:.4f}; one agrees "
        f"with the most frequent answer of the others with {ceiling['others']:.4f}; no soft "
        f"accuracy can exceed {ceiling['best_answer']:.4f}, that of each picture's most frequent "
        "answer.",
        "Predicting a vote that is left out from the others of the same picture has a KL of "
        f"{ceiling['kl_others']:.4f}: an estimate of what asking more people gives, no bound, "
        "since a model that saw many pictures can know better than a few votes.",
    ]


def markdown(
    title: str, facts: Sequence[str], rows: Sequence[Row], pairs: Sequence[Pair],
    ceiling: Mapping[str, float] | None,
) -> str:  # fmt: skip
    """The whole comparison in Markdown.

    Args:
        title: Of the page.
        facts: What was compared how, a sentence each.
        rows: A row for each model.
        pairs: Any two of them.
        ceiling: Of `scores.annotator_ceiling`; None without votes.
    """
    parts = [f"# {title}", main_table(rows), *facts, *annotator_lines(ceiling), _legend(rows)]
    if pairs:
        parts += ["## Two models on the same pictures", pair_table(pairs)]
    return "\n\n".join(parts) + "\n"


def write_page(
    path: Path, title: str, facts: Sequence[str], rows: Sequence[Row], pairs: Sequence[Pair],
    ceiling: Mapping[str, float] | None, pictures: Mapping[str, Path],
) -> None:  # fmt: skip
    """Writes the HTML page.

    Args:
        path: The file; replaced in one step.
        title: As for `markdown`, like the others.
        facts: See there.
        rows: See there.
        pairs: See there.
        ceiling: See there.
        pictures: Heading -> PNG file to embed.

    Raises:
        OSError: No space, no permission; an old file is untouched.
    """
    columns = _used(rows)
    page = render(
        "comparison.html",
        title=title,
        styles=["comparison.css"],
        script="comparison.js",
        facts=[*facts, *annotator_lines(ceiling)],
        columns=[
            # Words rather than numbers have no value to sort by.
            {"head": head, "meaning": meaning, "is_text": not key}
            for head, _, key, meaning in columns
        ],
        models=[
            {
                "name": row["name"],
                "path": row["path"],
                "cells": [(cell(row), _sort_value(row, key)) for _, cell, key, _ in columns],
            }
            for row in rows
        ],
        pictures=[(heading, png_uri(file.read_bytes())) for heading, file in pictures.items()],
        pairs=[(pair.first, pair.second, _pair_cells(pair)) for pair in pairs],
    )
    write_text(path, page)


def _pair_cells(pair: Pair) -> list[tuple[str, float]]:
    counts = (pair.only_first, pair.only_second, pair.neither)
    return [(f"{count:,}", count) for count in counts] + [
        (_p(p), p) for p in (pair.p_value, pair.p_holm)
    ]


def _used(rows: Sequence[Row]) -> list[tuple[str, Callable[[Row], str], str, str]]:
    return [column for column in _COLUMNS if any(column[1](row) for row in rows)]


def _legend(rows: Sequence[Row]) -> str:
    return "\n".join(f"- {head}: {meaning}" for head, _, _, meaning in _used(rows))


def _sort_value(row: Row, key: str) -> str:
    return "" if not key or row[key] is None else f"{row[key]:.9g}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"
