"""The tables and pictures of the robustness study."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_keras.data.datasets.synthetic_faces import generate
from fer_keras.reporting.plots import Line, Panel, plot_panels, plot_pictures
from fer_keras.reporting.tables import markdown_table
from fer_keras.studies.robustness.corruptions import (
    CORRUPTIONS,
    NUM_SEVERITIES,
    STANDARD_POINTS,
    corrupt,
)

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples

CLEAN = ("clean", 0)
CONDITIONS = (CLEAN, *((n, s) for n in CORRUPTIONS for s in range(1, NUM_SEVERITIES + 1)))
LONG_TABLE = "## Every corruption"
# Seed of a smiling drawn face whose eyes and mouth lie in the bands that are hidden.
_DRAWN_FACE = 881


def report(
    about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], points: Sequence[Mapping[str, Any]]
) -> str:
    """All of it as Markdown.

    Args:
        about: What was studied on what, of `base.describe`.
        rows: Of `figures`, of all models.
        points: Of `compare`, of all models but the reference.

    Returns:
        Text without a last newline.
    """
    names = [model["name"] for model in about["models"]]
    by_key = {(row["model"], row["corruption"], row["severity"]): row for row in rows}
    missing = about["classes_not_known_to_all"]
    lines = [
        "# Robustness",
        "",
        f"{about['studied_on']}; pictures of {about['image_size']} pixels, seed {about['seed']}, "
        f"commit {about['git_commit']}. Intervals are 95 %.",
    ]
    header = [
        "Model", "Clean accuracy", "Balanced", "ECE", "Mean of all corruptions", "Mean balanced",
        "Mean loss", "Mean ECE",
    ]  # fmt: skip
    if missing:
        lines[-1] += (
            f" Pictures of {', '.join(missing)} are errors of a model that does not know the class."
        )
        header.insert(2, f"Without {', '.join(missing)}")
    table = []
    for name in names:
        clean = by_key[name, *CLEAN]
        corrupted = [row for row in rows if row["model"] == name and row["severity"]]
        balanced = f"{clean['balanced_accuracy']:.4f}"
        cells = [name, _with_interval(clean), balanced, f"{clean['ece']:.3f}"]
        if missing:
            cells.insert(2, f"{clean['accuracy_known']:.4f} (n {clean['n_known']:,})")
        cells += [
            f"{np.mean([row[key] for row in corrupted]):.4f}"
            for key in ("accuracy", "balanced_accuracy", "loss", "ece")
        ]
        table.append(cells)
    lines += ["", markdown_table(header, table), "", "## Standard points", ""]
    lines += [_points_table(by_key, points, names), "", LONG_TABLE, ""]
    header = ["Corruption", "Value"]
    for name in names:
        header += [f"{name}: accuracy", "loss", "ECE"]
    table = []
    for corruption, severity in CONDITIONS:
        title = CORRUPTIONS[corruption].title if severity else "None"
        cells = [title, by_key[names[0], corruption, severity]["value"]]
        for name in names:
            row = by_key[name, corruption, severity]
            cells += [_with_interval(row), f"{row['loss']:.4f}", f"{row['ece']:.3f}"]
        table.append(cells)
    return "\n".join([*lines, markdown_table(header, table)])


def _points_table(
    by_key: Mapping[Any, Mapping[str, Any]], points: Sequence[Mapping[str, Any]], names: list[str]
) -> str:
    """Accuracy and loss at the standard points, with ratios where there is a reference."""
    if not points:
        rows = [by_key[names[0], *condition] for condition in STANDARD_POINTS.values()]
        cells = [
            [point, _with_interval(row), f"{row['loss']:.4f} ± {row['loss_margin']:.4f}"]
            for point, row in zip(STANDARD_POINTS, rows, strict=True)
        ]
        return markdown_table(["Point", f"{names[0]}: accuracy", "Loss"], cells)
    table = []
    for point in points:
        ratio = "-" if point["ratio"] is None else f"{point['ratio']:.2f}"
        if point["ratio_low"] is not None:
            ratio += f" [{point['ratio_low']:.2f}, {point['ratio_high']:.2f}]"
        table.append(
            [
                point["point"],
                point["model"],
                f"{point['accuracy']:.4f}",
                f"{point['loss']:.4f}",
                f"{point['reference_accuracy']:.4f}",
                f"{point['reference_loss']:.4f}",
                ratio,
                "yes" if point["less_than_half"] else "no",
            ]
        )
    reference = points[0]["reference"]
    return markdown_table(
        ["Point", "Model", "Accuracy", "Loss", f"{reference}: accuracy", "Loss", "Ratio of losses",
         "Less than half"],
        table,
    )  # fmt: skip


def _with_interval(row: Mapping[str, Any]) -> str:
    return f"{row['accuracy']:.4f} [{row['accuracy_low']:.4f}, {row['accuracy_high']:.4f}]"


def draw_sheets(folder: Path, samples: "Samples", seed: int, show_data: bool) -> None:
    """Draws every corruption in every severity.

    Args:
        folder: Receives `corruptions.png`, a drawn face, and `corruptions_<data set>.png`.
        samples: Whose size and channels are used.
        seed: Of the corruptions.
        show_data: Whether the second sheet is made, of the first picture of the data set.
    """
    channels = samples.images.shape[3]
    drawn = next(
        iter(generate(1, seed=_DRAWN_FACE, size=samples.images.shape[1], channels=channels))
    ).image
    sheets = {"corruptions.png": (drawn, "a drawn face")}
    if show_data:
        sheets[f"corruptions_{samples.name}.png"] = (samples.images[0], samples.name)
    for file, (image, what) in sheets.items():
        rows = []
        for name, corruption in CORRUPTIONS.items():
            severities = range(1, NUM_SEVERITIES + 1)
            images = [corrupt(image[None], name, s, seed=seed)[0] for s in severities]
            captions = [corruption.label(severity) for severity in severities]
            rows.append((corruption.title, [image, *images], ["clean", *captions]))
        plot_pictures(rows, folder / file, title=f"Corruptions in five severities: {what}")


def draw_curves(folder: Path, about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Draws accuracy and calibration of each model, and the accuracy of all in one figure.

    Args:
        folder: Receives a PNG named after each model, and `comparison.png` of several.
        about: What was studied on what, of `base.describe`.
        rows: Of `figures`, of all models.
    """

    def line(name: str, corruption: str, key: str, label: str) -> Line:
        wanted = [
            r for r in rows if r["model"] == name and r["corruption"] in ("clean", corruption)
        ]
        values = [row[key] for row in wanted]
        if key != "accuracy":
            return Line(label, values)
        low, high = ([row[f"accuracy_{end}"] for row in wanted] for end in ("low", "high"))
        return Line(label, values, low, high)

    def panels(lines: Sequence[tuple[str, str, str]]) -> list[Panel]:
        return [
            Panel(
                corruption.title,
                ["clean", *(corruption.label(s) for s in range(1, NUM_SEVERITIES + 1))],
                [line(name, corruption.name, key, label) for name, key, label in lines],
            )
            for corruption in CORRUPTIONS.values()
        ]

    names = [model["name"] for model in about["models"]]
    note = f"Bands: 95 % Wilson intervals\n{about['studied_on']}"
    for name in names:
        slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        lines = [(name, "accuracy", "Accuracy"), (name, "ece", "Calibration error (ECE)")]
        plot_panels(panels(lines), folder / f"{slug}.png", title=f"Robustness of {name}", note=note)
    if len(names) > 1:
        lines = [(name, "accuracy", name) for name in names]
        plot_panels(
            panels(lines), folder / "comparison.png", title="Accuracy under corruption", note=note
        )
