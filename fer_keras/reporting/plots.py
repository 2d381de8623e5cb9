"""The pictures of a run and of a study: confusion matrix, reliability, curves, sheets of faces."""

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import DataError
from fer_keras.common.files import atomic_path
from fer_keras.common.metrics import ReliabilityBin
from fer_keras.common.progress import progress

BLUE, ORANGE, _GREEN = "#2b6cb0", "#dd6b20", "#2f855a"
GREY, INK = "#a0aec0", "#1a202c"
# Lines of a figure in this order; apart in lightness too, for those who see few colours.
LINES = (BLUE, ORANGE, _GREEN, "#1a202c", "#b83280", "#718096")
_MARKERS = "osD^vP"
# In inches.
_BESIDE_AXES = 0.75


@dataclass(frozen=True)
class Line:
    """One line of a panel.

    Attributes:
        label: The same label has the same colour in all panels.
        values: Shares in 0..1, one for each tick.
        lower: Lower ends of a band around them; empty for none.
        upper: Its upper ends.
    """

    label: str
    values: Sequence[float]
    lower: Sequence[float] = ()
    upper: Sequence[float] = ()


@dataclass(frozen=True)
class Panel:
    """One of several small plots.

    Attributes:
        title: Above it.
        ticks: What stands under the positions on the x axis, evenly spaced.
        lines: What is drawn.
        limits: Ends of its y axis; None for the scale from 0 that such panels share.
    """

    title: str
    ticks: Sequence[str]
    lines: Sequence[Line]
    limits: tuple[float, float] | None = None


def plot_confusion_matrix(
    matrix: npt.ArrayLike, class_names: Sequence[str], path: str | Path, *, title: str = ""
) -> None:
    """Draws a confusion matrix with counts and per cent of each row.

    Args:
        matrix: `(classes, classes)` counts, rows true, columns predicted.
        class_names: Names in the order of rows and columns.
        path: The PNG file to write.
        title: One line above the picture.
    """
    counts = np.asarray(matrix, np.int64)
    num_classes = len(class_names)
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)

    figure = new_figure(2.6 + 0.82 * num_classes, 2.0 + 0.72 * num_classes)
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    for row in range(num_classes):
        for column in range(num_classes):
            if not totals[row, 0]:
                continue
            axes.text(
                column,
                row,
                f"{share[row, column]:.1%}\n{counts[row, column]:,}",
                ha="center",
                va="center",
                fontsize=8.5,
                linespacing=1.35,
                fontweight="bold" if row == column else "normal",
                color="white" if share[row, column] > 0.55 else INK,
            )
    axes.set_xticks(range(num_classes), list(class_names), rotation=30, ha="right")
    axes.set_yticks(
        range(num_classes),
        [f"{name}  (n = {totals[i, 0]:,})" for i, name in enumerate(class_names)],
    )
    axes.set_xticks(np.arange(num_classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(num_classes + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("Predicted")
    axes.set_ylabel("True")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    bar = figure.colorbar(image, ax=axes, fraction=0.035, pad=0.02)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    bar.outline.set_visible(False)
    bar.set_label("Share of the true class", fontsize=9)
    save_figure(figure, path)


def plot_reliability(
    bins: Sequence[ReliabilityBin], path: str | Path, *, title: str = "", note: str = ""
) -> None:
    """Draws a reliability diagram above a histogram of the confidences.

    Args:
        bins: Of `fer_keras.common.metrics.reliability_bins`.
        path: The PNG file to write.
        title: One line above the picture.
        note: Short lines below it, e.g. ECE and n.
    """
    figure = new_figure(5.6, 6.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    filled = [b for b in bins if b.accuracy is not None and b.confidence is not None]
    width = bins[0].upper - bins[0].lower
    centres = [(b.lower + b.upper) / 2 for b in filled]
    accuracies = [float(b.accuracy or 0.0) for b in filled]
    confidences = [float(b.confidence or 0.0) for b in filled]
    gaps = [c - a for a, c in zip(accuracies, confidences, strict=True)]
    upper.bar(
        centres, accuracies, width=0.94 * width, color=BLUE, alpha=0.8, label="Accuracy", zorder=2
    )
    for label, colour, wanted in (("Too sure", ORANGE, 1.0), ("Not sure enough", _GREEN, -1.0)):
        chosen = [i for i, gap in enumerate(gaps) if gap * wanted > 0]
        if chosen:
            upper.bar(
                [centres[i] for i in chosen],
                [gaps[i] for i in chosen],
                bottom=[accuracies[i] for i in chosen],
                width=0.94 * width,
                color=colour,
                alpha=0.55,
                label=label,
                zorder=3,
            )
    upper.plot(
        confidences, confidences, "_", color=INK, markersize=14, zorder=5, label="Confidence"
    )
    upper.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1, label="Perfect", zorder=4)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="Accuracy")
    upper.legend(loc="upper left", frameon=False, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    if note:
        # Below the axis it lies on no bar, wherever the confidences are.
        lower.annotate(
            ", ".join(note.splitlines()), (0, 0), xycoords="axes fraction",
            textcoords="offset points", xytext=(0, -44), fontsize=9, color=INK,
        )  # fmt: skip
    lower.bar(
        [(b.lower + b.upper) / 2 for b in bins],
        [b.count for b in bins],
        width=0.94 * width,
        color=GREY,
        zorder=2,
    )
    lower.set(xlabel="Confidence (probability of the predicted class)", ylabel="Images")
    for axes in (upper, lower):
        plain_axes(axes)
    save_figure(figure, path)


def plot_risk_coverage(
    curves: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    path: str | Path,
    *,
    chosen: tuple[float, float | None],
    target: float,
    title: str = "",
) -> None:
    """Draws how many of the kept answers are wrong, against how many are kept.

    Args:
        curves: Name -> share of the answers kept and accuracy of those, both ascending in the
            share (`fer_keras.common.risk_coverage.risk_coverage`).
        path: The PNG file to write.
        chosen: Share kept and accuracy at the threshold of the model; accuracy None where nothing
            is kept.
        target: Accuracy at which the threshold aims.
        title: One line above the picture.
    """
    figure = new_figure(6.4, 4.4)
    axes = figure.subplots()
    styles = ((BLUE, "-", 2.0), (ORANGE, "--", 1.6), (_GREEN, ":", 1.8))
    highest = 1 - target
    for (name, (kept, accuracy)), (colour, line, width) in zip(
        curves.items(), styles, strict=False
    ):
        share, risk = np.asarray(kept), 1 - np.asarray(accuracy)
        # The first few answers make a curve jump from 0 to 1 and back.
        steady = share >= 0.05
        axes.plot(share[steady], risk[steady], color=colour, linestyle=line, linewidth=width,
                  label=name, zorder=3)  # fmt: skip
        highest = max(highest, float(risk[steady].max(initial=0.0)))
    axes.axhline(1 - target, color=GREY, linewidth=1.2, zorder=2)
    axes.annotate(
        f"target: {1 - target:.0%} wrong", (0.01, 1 - target), textcoords="offset points",
        xytext=(0, 4), fontsize=9, color=INK,
    )  # fmt: skip
    share_kept, accuracy_kept = chosen
    if accuracy_kept is not None:
        point = (share_kept, 1 - accuracy_kept)
        axes.plot(*point, "o", color=INK, markersize=7, zorder=5)
        axes.annotate(
            f"{point[0]:.0%} kept, {point[1]:.1%} wrong", point, textcoords="offset points",
            xytext=(-9, 9), ha="right", fontsize=9, color=INK, zorder=5,
        )  # fmt: skip
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1.12 * highest + 0.01),
        xlabel="Coverage: share of the answers kept, the surest first",
        ylabel="Risk: share of those that is wrong",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    axes.set_title(title, loc="left", fontsize=11, pad=10)
    plain_axes(axes)
    save_figure(figure, path)


def plot_curves(metrics_path: str | Path, path: str | Path, *, title: str = "") -> None:
    """Draws loss, accuracy and learning rate over the epochs.

    Args:
        metrics_path: `metrics.jsonl` of a run: one JSON object per epoch.
        path: The PNG file to write.
        title: One line above the picture.

    Raises:
        DataError: The file is missing, damaged or empty.
    """
    from matplotlib.ticker import PercentFormatter

    rows = _read_rows(Path(metrics_path))
    epochs = [int(row["epoch"]) for row in rows]
    has_rate = any("learning_rate" in row for row in rows)
    panels = 3 if has_rate else 2
    figure = new_figure(4.4 * panels, 3.7)
    axes = figure.subplots(1, panels)
    marker = "o" if len(rows) <= 30 else ""
    for panel, name, label in ((axes[0], "loss", "Loss"), (axes[1], "accuracy", "Accuracy")):
        series = ((name, "Training", GREY), (f"val_{name}", "Validation", BLUE))
        for key, legend, colour in series:
            values = [_number(row.get(key)) for row in rows]
            if not all(math.isnan(v) for v in values):
                panel.plot(
                    epochs, values, color=colour, marker=marker, markersize=3.5, label=legend
                )
        panel.set(xlabel="Epoch", ylabel=label)
    validation = [_number(row.get("val_accuracy")) for row in rows]
    if not all(math.isnan(v) for v in validation):
        best = int(np.nanargmax(validation))
        # In the legend, which looks for a place beside the curves.
        label = f"Best: {validation[best]:.1%} (epoch {epochs[best]})"
        axes[1].plot(
            epochs[best], validation[best], "o", color=ORANGE, markersize=7, zorder=5, label=label
        )
    for panel in axes[:2]:
        if panel.get_legend_handles_labels()[0]:
            panel.legend(frameon=False, fontsize=9)
    axes[1].yaxis.set_major_formatter(PercentFormatter(xmax=1))
    if has_rate:
        rates = [_number(row.get("learning_rate")) for row in rows]
        axes[2].plot(epochs, rates, color=INK, marker=marker, markersize=3.5)
        axes[2].set(xlabel="Epoch", ylabel="Learning rate")
        axes[2].ticklabel_format(axis="y", style="sci", scilimits=(-4, 4))
    for panel in axes:
        plain_axes(panel)
        panel.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    save_figure(figure, path)


def plot_panels(
    panels: Sequence[Panel], path: str | Path, *, title: str = "", note: str = "", columns: int = 4
) -> None:
    """Draws small plots of shares side by side, with one legend for all.

    Args:
        panels: At least one.
        path: The PNG file to write.
        title: One line above the picture.
        note: Short lines below the legend.
        columns: Plots in a row.
    """
    labels = list(dict.fromkeys(line.label for panel in panels for line in panel.lines))
    style = {label: (LINES[i % 6], _MARKERS[i % 6]) for i, label in enumerate(labels)}
    num_rows = -(-(len(panels) + 1) // columns)  # one place for the legend
    figure = new_figure(3.3 * columns, 2.5 * num_rows + 0.4)
    grid = figure.subplots(num_rows, columns, squeeze=False).ravel()
    highest = max(
        value for panel in panels for line in panel.lines for value in (*line.values, *line.upper)
    )
    for axes, panel in zip(grid, panels, strict=False):
        positions = range(len(panel.ticks))
        for line in panel.lines:
            colour, marker = style[line.label]
            if line.lower:
                axes.fill_between(
                    positions, line.lower, line.upper, color=colour, alpha=0.18, linewidth=0
                )
            axes.plot(positions, line.values, color=colour, marker=marker, markersize=4)
        axes.set_xticks(positions, list(panel.ticks))
        axes.set_ylim(*(panel.limits or (0, min(1.0, highest + 0.06))))
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
        axes.set_title(panel.title, loc="left", fontsize=10, pad=6)
        plain_axes(axes)
        axes.tick_params(labelsize=8)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    from matplotlib.lines import Line2D

    corner = grid[len(panels)]
    handles = [
        Line2D([], [], color=style[label][0], marker=style[label][1], markersize=5, label=label)
        for label in labels
    ]
    corner.legend(handles=handles, loc="upper left", frameon=False, fontsize=10)
    corner.text(
        0.02, 0.86 - 0.105 * len(labels), note, ha="left", va="top", fontsize=9, linespacing=1.5,
        color=INK, transform=corner.transAxes,
    )  # fmt: skip
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    save_figure(figure, path)


def plot_intervals(
    groups: Mapping[str, Mapping[str, tuple[float, float, float]]],
    path: str | Path,
    *,
    title: str = "",
    note: str = "",
    limits: tuple[float, float] = (0.0, 1.0),
) -> None:
    """Draws shares with their intervals as points and whiskers, the groups beside each other.

    Args:
        groups: Group -> what was measured -> share, lower end, upper end, all in 0..1.
        path: The PNG file to write.
        title: One line above the picture.
        note: One line below it.
        limits: Ends of the scale.
    """
    measured = list(dict.fromkeys(name for values in groups.values() for name in values))
    figure = new_figure(7.2, 1.3 + 0.16 * len(measured) * (len(groups) + 1.5))
    axes = figure.subplots()
    step = 0.7 / len(groups)
    for place, (group, values) in enumerate(groups.items()):
        shown = [(row, *values[name]) for row, name in enumerate(measured) if name in values]
        rows, shares, lower, upper = (np.array(column) for column in zip(*shown, strict=True))
        axes.errorbar(
            shares, rows + step * (place - (len(groups) - 1) / 2),
            xerr=[np.maximum(shares - lower, 0), np.maximum(upper - shares, 0)],
            fmt=_MARKERS[place % 6], color=LINES[place % 6], markersize=5, elinewidth=1.4,
            label=group,
        )  # fmt: skip
    axes.set_yticks(range(len(measured)), measured)
    axes.set_ylim(len(measured) - 0.5, -0.5)
    axes.set_xlim(*limits)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    axes.set_xlabel(note, fontsize=9)
    axes.set_title(title, loc="left", fontsize=11, pad=10)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    plain_axes(axes)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#e2e8f0", linewidth=0.8)
    for row in range(1, len(measured)):
        axes.axhline(row - 0.5, color="#e2e8f0", linewidth=0.8)
    save_figure(figure, path)


def plot_histograms(
    grid: Sequence[Sequence[tuple[str, Mapping[str, npt.NDArray[np.float64]]]]],
    path: str | Path,
    *,
    title: str = "",
    note: str = "",
) -> None:
    """Draws histograms in rows of panels that share their bins; each group has area 1.

    Args:
        grid: Rows of panels, each a title and group -> numbers; the same bins for all.
        path: The PNG file to write.
        title: One line above the picture.
        note: What the numbers are, under the lowest row.
    """
    groups = [numbers for row in grid for _, panel in row for numbers in panel.values()]
    low, high = np.quantile(np.concatenate(groups), (0.002, 0.998))
    bins = np.linspace(low, max(high, low + 1e-6), 31)
    figure = new_figure(3.4 * len(grid[0]), 2.7 * len(grid) + 0.4)
    axes = figure.subplots(len(grid), len(grid[0]), squeeze=False, sharex=True)
    for row, panels in zip(axes, grid, strict=True):
        for panel, (name, values) in zip(row, panels, strict=True):
            for (label, numbers), colour in zip(values.items(), LINES, strict=False):
                if numbers.size:
                    panel.hist(
                        np.clip(numbers, bins[0], bins[-1]), bins, density=True, color=colour,
                        alpha=0.5, label=f"{label} ({numbers.size:,})",
                    )  # fmt: skip
            panel.set_title(name, loc="left", fontsize=9)
            panel.set_yticks([])
            # Room for the legend above the bars.
            panel.set_ylim(0, 1.35 * panel.get_ylim()[1])
            panel.legend(frameon=False, fontsize=7.5, loc="upper right")
            plain_axes(panel)
    for panel in axes[-1]:
        panel.set_xlabel(note, fontsize=8.5)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    save_figure(figure, path)


def plot_pictures(
    rows: Sequence[tuple[str, Sequence[npt.NDArray[np.uint8]], Sequence[str]]],
    path: str | Path,
    *,
    title: str = "",
    caption_lines: int = 1,
) -> None:
    """Draws a sheet of pictures, with a name before each row and a caption under each picture.

    Args:
        rows: Name, pictures `(height, width, 1 or 3)` all of one size, and their captions.
        path: The PNG file to write.
        title: One line above the sheet.
        caption_lines: How many lines a caption has.
    """
    num_columns = max(len(pictures) for _, pictures, _ in rows)
    height, width, _ = rows[0][1][0].shape
    gap_x, gap_y = 0.08 * width, (0.13 + 0.13 * caption_lines) * height
    figure = new_figure(1.05 * (num_columns + 1.4), 0.5 + (1.11 + 0.13 * caption_lines) * len(rows))
    axes = figure.subplots()
    for row, (name, pictures, captions) in enumerate(rows):
        top = row * (height + gap_y)
        axes.text(-gap_x, top + height / 2, name, ha="right", va="center", fontsize=9)
        for column, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
            left = column * (width + gap_x)
            rgb = np.repeat(picture, 3 // picture.shape[2], axis=2)
            axes.imshow(rgb, extent=(left, left + width, top + height, top))
            axes.text(
                left + width / 2, top + height * 1.03, caption, ha="center", va="top", fontsize=7
            )
    axes.set_xlim(-1.4 * width, num_columns * (width + gap_x))
    axes.set_ylim(len(rows) * (height + gap_y), 0)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(title, loc="left", fontsize=10)
    save_figure(figure, path)


def new_figure(width: float, height: float) -> Any:
    """An empty figure of this size in inches."""
    # Figure without pyplot: no global state, no window, and figures are freed by themselves.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=130, layout="constrained")


def plain_axes(axes: Any) -> None:
    """The look of all axes: pale lines across, no frame above and on the right."""
    axes.grid(axis="y", color="#e2e8f0", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=9)


def save_figure(figure: Any, path: str | Path) -> None:
    """Replaces a PNG file in one step."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    _break_titles(figure)
    with progress(f"drawing {Path(path).name}"), atomic_path(Path(path)) as temporary:
        figure.savefig(temporary, format="png", facecolor="white")


def _break_titles(figure: Any) -> None:
    """Breaks titles into lines where they are wider than what they stand above."""
    width = figure.get_figwidth()
    titles = [(figure._suptitle, width)] if figure._suptitle is not None else []
    for axes in figure.axes:
        place = axes.get_subplotspec()
        if place is None:
            continue
        columns = place.get_gridspec().ncols
        share = len(place.colspan) / columns
        # Left of the axes stand the numbers, and where nothing stands there the row's names.
        titles.append((axes._left_title, share * width - _BESIDE_AXES))
    for title, room in titles:
        # The mean width of a letter is about half of the size of the font.
        letters = max(12, int(room * 72 / (0.54 * title.get_fontsize())))
        lines = [textwrap.fill(line, letters) for line in title.get_text().split("\n")]
        title.set_text("\n".join(lines))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _read_rows(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"Expected one JSON object a line ({error}): {path}") from error
    if not rows or not all(isinstance(row, dict) and "epoch" in row for row in rows):
        raise DataError(f"Expected one JSON object with 'epoch' for each epoch: {path}")
    return rows
