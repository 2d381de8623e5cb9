"""What the sections of a report hold, for `run_page.html`; empty where nothing is known."""

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.common.metrics import wilson_interval
from fer_keras.common.risk_coverage import risk_coverage
from fer_keras.config import Experiment, flatten
from fer_keras.reporting.run_page.charts import (
    Line,
    Mark,
    interval_bar,
    legend,
    line_chart,
    reliability_chart,
)
from fer_keras.reporting.run_page.content import Content

_FEW = 30
_NUM_MISTAKES = 24
_MAX_POINTS = 120

# What stands in a cell of a table, and what follows it in small print.
Cell = tuple[str, ...]


def summary(content: Content) -> dict[str, Any]:
    """The figures, a column for each split that was evaluated.

    Args:
        content: Of the run.

    Returns:
        `columns`; `rows` of a name and a cell of each column; `notes`; `is_fallback`.
    """
    results = content.results

    def row(name: str, cell: Callable[[Mapping[str, Any]], Cell]) -> tuple[str, list[Cell]]:
        return name, [cell(result) for result in results.values()]

    def calibrated(key: str) -> Callable[[Mapping[str, Any]], Cell]:
        def cell(result: Mapping[str, Any]) -> Cell:
            after = (result.get("calibrated") or {}).get(key)
            before = _number(result.get(key))
            return (before, "") if after is None else (_number(after), f"({before})")

        return cell

    first = next(iter(results.values()))
    return {
        "columns": [_title(split, result) for split, result in results.items()],
        "rows": [
            row("Accuracy [95 %]", lambda r: _with_interval(r["accuracy"], r["accuracy_interval"])),
            row("Without duplicates of training pictures", _without_duplicates),
            row("Pictures", lambda r: (f"{r['n']:,}", "")),
            row("Balanced accuracy", lambda r: (_number(r.get("balanced_accuracy")), "")),
            row("Macro F1", lambda r: (_number(r.get("macro_f1")), "")),
            row("Calibration error (ECE), calibrated (plain)", calibrated("ece")),
            row("Negative log likelihood, calibrated (plain)", calibrated("nll")),
            row("Brier score, calibrated (plain)", calibrated("brier")),
        ],
        "notes": first.get("dataset_notes", []),
        "is_fallback": first.get("fallback"),
    }


def curves(content: Content) -> dict[str, Any] | None:
    """Loss, accuracy and learning rate over the epochs.

    Args:
        content: Of the run.

    Returns:
        `legend` and `charts`; None where no epoch is known.
    """
    charts = []
    for title, key, share in (
        ("Loss", "loss", False),
        ("Accuracy", "accuracy", True),
        ("Learning rate", "learning_rate", False),
    ):
        names = (("training", key, 1), ("validation", f"val_{key}", 0))
        lines = []
        for name, column, colour in names:
            points = [(r["epoch"], r[column]) for r in content.history if _is_number(r.get(column))]
            if points:
                x, y = zip(*points, strict=True)
                lines.append(Line(name, x, y, colour=colour))
        if not lines:
            continue
        values = [value for line in lines for value in line.y]
        # Room for the mark: above the best accuracy, below the best loss.
        low, high = min(values) if share else 0.0, (1.12 if share else 1.03) * max(values)
        marks = []
        best = next(iter(content.results.values())).get("best_epoch")
        kept = [
            r for r in content.history if r["epoch"] == best and _is_number(r.get(f"val_{key}"))
        ]
        if kept:
            value = kept[0][f"val_{key}"]
            shown = f"{value:.1%}" if share else f"{value:.3f}"
            marks.append(Mark(kept[0]["epoch"], value, f"{shown}, epoch {best}", below=not share))
        charts.append(
            line_chart(title, lines, x_label="epoch", y_range=(low, high), share=share, marks=marks)
        )
    if not charts:
        return None
    # Colours in the order of the legend: validation 0, training 1.
    return {"legend": legend(["validation", "training"]), "charts": charts}


def confusion(content: Content) -> list[dict[str, Any]]:
    """A confusion matrix for each split.

    Args:
        content: Of the run.

    Returns:
        Of each `title`, `split`, `names`, and `rows` of `name`, `total` and `cells`.
    """
    matrices = []
    for split, result in content.results.items():
        if "confusion_matrix" not in result:
            continue
        names, rows = result["class_names"], []
        for name, counts in zip(names, result["confusion_matrix"], strict=True):
            total = sum(counts)
            shares = [count / total if total else 0.0 for count in counts]
            cells = [
                {
                    "count": count,
                    "share": f"{share:.3f}",
                    "percent": f"{share:.0%}",
                    "is_strong": share > 0.55,
                }
                for count, share in zip(counts, shares, strict=True)
            ]
            rows.append({"name": name, "total": total, "cells": cells})
        matrices.append(
            {"title": _title(split, result), "split": split, "names": names, "rows": rows}
        )
    return matrices


def per_class(content: Content) -> list[dict[str, Any]]:
    """Recall with its interval, precision and F1 of each class.

    Args:
        content: Of the run.

    Returns:
        Of each split `title`, `split`, and `rows`, one for each class.
    """
    tables = []
    for split, result in content.results.items():
        rows = []
        for name, row in result.get("per_class", {}).items():
            n = row["support"]
            bar = ""
            recall: Cell = ("", "")
            if n:
                low, high = wilson_interval(round(row["recall"] * n), n)
                bar = interval_bar(row["recall"], low, high)
                recall = _with_interval(row["recall"], (low, high), 3)
            precision, f1 = (_number(row[key], 3) for key in ("precision", "f1"))
            rows.append(
                {
                    "name": name,
                    "is_few": n < _FEW,
                    "bar": bar,
                    "number": n,
                    "recall": recall,
                    "precision": precision,
                    "f1": f1,
                }
            )
        if rows:
            tables.append({"title": _title(split, result), "split": split, "rows": rows})
    return tables


def calibration(content: Content) -> dict[str, Any] | None:
    """Reliability diagrams of the plain probabilities, and what the temperature brings.

    Args:
        content: Of the run.

    Returns:
        `charts` with their titles, and `notes`; None where there are none.
    """
    charts, notes = [], []
    for split, result in content.results.items():
        if "reliability" not in result:
            continue
        charts.append((_title(split, result), reliability_chart(result["reliability"])))
        after = result.get("calibrated")
        more = (
            f"; {after['ece']:.3f} with the temperature {after['temperature']:.3f}, fitted on "
            f"{after['fitted_on']}"
            if after
            else ""
        )
        notes.append(f"{split}: ECE {result['ece']:.3f}{more}.")
    return {"charts": charts, "notes": notes} if charts else None


def risk(content: Content) -> dict[str, Any] | None:
    """How many answers are wrong among those that are kept.

    Args:
        content: Of the run.

    Returns:
        `chart` and `note`; None where no probabilities are known.
    """
    decision = content.manifest.get("decision")
    if decision:
        points = [(p["kept"], 1 - p["accuracy"]) for p in decision["risk_coverage"]]
        marks = []
        if decision["reject_accuracy"] is not None:
            wrong = 1 - decision["reject_accuracy"]
            kept = decision["reject_coverage"]
            marks.append(Mark(kept, wrong, f"{kept:.0%} kept, {wrong:.1%} wrong"))
        note = (
            f"Unsure is an answer whose highest probability is below "
            f"{decision['reject_threshold']:.3f} (target: {decision['reject_accuracy_target']:.0%} "
            f"of the kept answers right). Fitted on {decision['fitted_on']}, measured on "
            f"{decision['measured_on']}."
        )
    else:
        points, marks = _risk_of_predictions(content), []
        note = (
            "From the plain probabilities of the validation split; an export fits a threshold on "
            "half of it and measures it on the other half."
        )
    if not points:
        return None
    x, y = zip(*points, strict=True)
    chart = line_chart(
        "Share of wrong answers among those that are kept, the surest first",
        [Line("risk", x, y)], x_label="share kept", x_share=True,
        y_range=(0.0, 1.05 * max(*y, 0.01)), marks=marks, width=480, height=260,
    )  # fmt: skip
    return {"chart": chart, "note": note}


def mistakes(content: Content, pictures: Mapping[int, str]) -> dict[str, Any] | None:
    """The wrong answers that the model was surest of.

    Args:
        content: Of the run.
        pictures: Row of the validation split -> data URI, where pictures may be shown.

    Returns:
        `cards` of those with a picture, `rows` where there are no pictures; None where no answer
        is wrong.
    """
    chosen = confident_mistakes(content)
    if not chosen:
        return None
    cards = [
        {"picture": pictures[int(row["index"])], "confidence": f"{confidence(row):.0%}", **row}
        for row in chosen
        if int(row["index"]) in pictures
    ]
    rows = [{**row, "confidence": f"{confidence(row):.1%}"} for row in chosen]
    return {"cards": cards, "rows": [] if pictures else rows}


def confident_mistakes(content: Content) -> list[Mapping[str, str]]:
    """The wrong answers of the validation split, the surest first."""
    wrong = [r for r in content.predictions.get("validation", ()) if r["true"] != r["predicted"]]
    return sorted(wrong, key=confidence, reverse=True)[:_NUM_MISTAKES]


def confidence(row: Mapping[str, str]) -> float:
    """The probability of the answer in a row of predictions."""
    return float(row[f"p_{row['predicted']}"])


def exported(content: Content) -> dict[str, Any] | None:
    """The files of the export, compared with Keras.

    Args:
        content: Of the run.

    Returns:
        `rows` of cells and `note`; None where nothing was exported.
    """
    parity = content.manifest.get("parity")
    if not parity:
        return None
    rows = [
        [
            name,
            f"{row['bytes'] / 1e6:.2f}",
            _number(row.get("ms_per_face"), 2),
            f"{row['max_difference']:.1e}",
            f"{row['same_arg_max']:.2%}",
            _number(row.get("accuracy")),
            _number(row.get("ece"), 3),
        ]
        for name, row in parity["models"].items()
    ]
    averaged = (
        " The exported graph averages a picture and its mirror image."
        if content.manifest.get("mirror_average")
        else ""
    )
    note = (
        f"Compared with Keras (accuracy {parity['keras_accuracy']:.4f}) on {parity['n']:,} "
        f"{parity['split']} pictures; one thread, {parity['machine']}.{averaged}"
    )
    return {"rows": rows, "note": note}


def settings(content: Content) -> dict[str, Any] | None:
    """The experiment: what differs from the defaults first.

    Args:
        content: Of the run.

    Returns:
        `name`, and key -> value of what is `changed` and the `rest`; None where it is not known.
    """
    if not content.experiment:
        return None
    ours = flatten(content.experiment)
    defaults = flatten(asdict(Experiment(name="")))
    name = ours.pop("name", "")
    changed = {key: str(value) for key, value in ours.items() if defaults.get(key) != value}
    rest = {key: str(value) for key, value in ours.items() if key not in changed}
    return {"name": name, "changed": changed, "rest": rest}


def environment(content: Content) -> list[tuple[str, str]]:
    """Where and from what the run was made.

    Args:
        content: Of the run.

    Returns:
        Names and values.
    """
    result = content.results["validation"]
    named = (
        ("Trained with", "device"),
        ("Backend", "backend"),
        ("Commit", "git_commit"),
        ("Seed", "seed"),
        ("Minutes of training", "training_minutes"),
        ("Images per second", "images_per_second"),
        ("Trainable parameters", "trainable_parameters"),
        ("Initial weights", "initial_weights"),
        ("Training images", "train_images"),
        ("Label rule in training", "train_label_rule"),
        ("Data fingerprint", "dataset_fingerprint"),
        ("Model sha256", "model_sha256"),
    )
    return [(name, _shown(result[key])) for name, key in named if result.get(key) not in (None, "")]


def commands(content: Content) -> str:
    """What to type to make all of this again.

    Args:
        content: Of the run.

    Returns:
        A command a line.
    """
    result = content.results["validation"]
    # From the folder in which the page is made; a folder elsewhere has its whole path.
    beside = os.path.relpath(content.run_dir)
    run = shlex.quote(str(content.run_dir) if beside.startswith("..") else beside)
    # In the folder of this run nothing can be trained anew.
    first = result.get("command") or f"python -m fer_keras.train --exp {run}/experiment.json"
    lines = [re.sub(r" --run-dir[ =]('[^']*'|\S+)", "", first)]
    lines.append(f"python -m fer_keras.evaluate {run}")
    if "test" in content.results:
        lines.append(f"python -m fer_keras.evaluate {run} --split test")
    if content.manifest:
        mirror = " --mirror" if content.manifest.get("mirror_average") else ""
        lines.append(f"python -m fer_keras.export {run}{mirror}")
    for study in content.studies:
        (path,) = (Path(m["path"]) for m in study.record["models"] if m["name"] == study.model)
        model = run
        if path.suffix == ".tflite":
            model = f"{run}/export --precision {path.stem.removeprefix('model_')}"
        other = str(study.record["dataset"])
        on = "" if other == result["dataset"] else f" --dataset {other}"
        lines.append(f"python -m fer_keras.study {study.name} {model}{on}")
    lines.append(f"python -m fer_keras.report {run}")
    return "\n".join(dict.fromkeys(lines))


def _risk_of_predictions(content: Content) -> list[tuple[float, float]]:
    rows = content.predictions.get("validation", ())
    if not rows:
        return []
    names = [key.removeprefix("p_") for key in rows[0] if key.startswith("p_")]
    p = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows])
    labels = np.array([names.index(row["true"]) for row in rows])
    kept, accuracy, _ = risk_coverage(p, labels)
    # The first few answers make a curve jump from 0 to 1 and back.
    steady = np.flatnonzero(kept >= 0.05)
    chosen = steady[np.unique(np.linspace(0, len(steady) - 1, _MAX_POINTS).astype(np.int64))]
    return [(float(kept[i]), float(1 - accuracy[i])) for i in chosen]


def _title(split: str, result: Mapping[str, Any]) -> str:
    return f"{result['dataset']} {split}"


def _without_duplicates(result: Mapping[str, Any]) -> Cell:
    without = result.get("without_duplicates")
    if not without or without.get("accuracy") is None:
        return "", ""
    return *_with_interval(without["accuracy"], without["accuracy_interval"]), f"n {without['n']:,}"


def _with_interval(value: float | None, interval: Sequence[float], digits: int = 4) -> Cell:
    if value is None:
        return "", ""
    low, high = interval
    return f"{value:.{digits}f}", f"[{low:.{digits}f}, {high:.{digits}f}]"


def _number(value: Any, digits: int = 4) -> str:
    return f"{value:.{digits}f}" if _is_number(value) else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value > 9999:
        return f"{value:,}"
    return str(value)
