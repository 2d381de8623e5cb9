"""The pictures of a comparison: accuracy against latency, who is right, confident mistakes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.reporting.plots import BLUE, GREY, INK, ORANGE, new_figure, save_figure
from fer_keras.studies.comparison.scores import Pair, pareto_front


def plot_pareto(rows: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> bool:
    """Draws accuracy against milliseconds per face, and which models nothing beats in both.

    Args:
        rows: Of the comparison; those without `ms_per_face` are left out.
        path: The PNG file to write.
        title: One line above the picture.

    Returns:
        Whether there was anything to draw.
    """
    timed = [row for row in rows if row["ms_per_face"] is not None]
    if not timed:
        return False
    costs = [row["ms_per_face"] for row in timed]
    gains = [row["accuracy"] for row in timed]
    front = pareto_front(costs, gains)
    figure = new_figure(9.6, max(4.6, 1.6 + 0.24 * len(timed)))
    axes, key = figure.subplots(1, 2, width_ratios=(2.3, 1))
    axes.plot(
        [costs[i] for i in front], [gains[i] for i in front], color=GREY, zorder=2,
        drawstyle="steps-post", linewidth=1.4,
    )  # fmt: skip
    for number, row in enumerate(timed, start=1):
        colour = ORANGE if row["is_peer"] else BLUE
        place = (row["ms_per_face"], row["accuracy"])
        # At 0 and 1 the end of the interval is the accuracy, but for rounding.
        below = max(0.0, place[1] - row["accuracy_low"])
        spread = [[below], [max(0.0, row["accuracy_high"] - place[1])]]
        axes.errorbar(*place, yerr=spread, color=colour, elinewidth=1, alpha=0.45, zorder=1)
        filled = number - 1 in front
        axes.plot(
            *place, "o", markersize=15, markeredgecolor=colour, zorder=3,
            markerfacecolor=colour if filled else "white",
        )  # fmt: skip
        axes.annotate(
            str(number), place, ha="center", va="center_baseline", fontsize=8, zorder=4,
            color="white" if filled else INK, fontweight="bold",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.margins(x=0.12)
    axes.set(xlabel="ms per face, one thread (log scale)", ylabel="Accuracy")
    axes.grid(color="#e2e8f0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_title(title, loc="left", fontsize=11, pad=10)
    key.set_axis_off()
    lines = [f"{number:>2}  {row['name']}" for number, row in enumerate(timed, start=1)]
    note = "Filled: no other is both faster and\nmore accurate. Bars: 95 % interval."
    note += "\nOrange: other projects' models." if any(row["is_peer"] for row in timed) else ""
    key.text(
        0, 1, "\n".join(lines) + f"\n\n{note}", ha="left", va="top", fontsize=9, linespacing=1.55,
        color=INK, transform=key.transAxes,
    )  # fmt: skip
    save_figure(figure, path)
    return True


def plot_disagreement(
    names: Sequence[str], pairs: Sequence[Pair], path: Path, *, title: str
) -> None:
    """Draws who is right where two models disagree.

    Args:
        names: Of the models, in the order of rows and columns.
        pairs: Any two of them.
        path: The PNG file to write.
        title: One line above the picture.
    """
    count = len(names)
    only = np.zeros((count, count), int)
    significant = np.zeros((count, count), bool)
    for pair in pairs:
        i, j = names.index(pair.first), names.index(pair.second)
        only[i, j], only[j, i] = pair.only_first, pair.only_second
        significant[i, j] = significant[j, i] = pair.p_holm < 0.05
    ahead = only - only.T
    limit = max(1, int(np.abs(ahead).max()))
    figure = new_figure(max(7.4, 4.0 + 0.56 * count), 1.4 + 0.42 * count)
    axes = figure.subplots()
    axes.imshow(ahead, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for i in range(count):
        for j in range(count):
            if i == j:
                axes.text(j, i, "·", ha="center", va="center", color=GREY)
                continue
            strong = abs(ahead[i, j]) > 0.6 * limit
            axes.text(
                j, i, f"{only[i, j]:,}{'*' if significant[i, j] else ''}", ha="center",
                va="center", fontsize=8.5, color="white" if strong else INK,
                fontweight="bold" if significant[i, j] else "normal",
            )  # fmt: skip
    # Numbers: names below the columns would take more room than the cells.
    axes.set_xticks(range(count), [str(1 + j) for j in range(count)], fontsize=9)
    axes.set_yticks(range(count), [f"{name}  {1 + i}" for i, name in enumerate(names)], fontsize=9)
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    note = (
        "Pictures on which the row's model is right and the column's is wrong.\n"
        "Blue: the row is right more often than the column. * p < 0.05 (McNemar, Holm)"
    )
    figure.suptitle(f"{title}\n{note}", x=0.01, ha="left", fontsize=10)
    save_figure(figure, path)
