"""Pictures of studies: bars with scales of their own, and matrices beside each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_keras.reporting.plots import BLUE, INK, LINES, new_figure, plain_axes, save_figure


def plot_bars(
    panels: Mapping[str, Mapping[str, float]], path: str | Path, *, title: str = "", note: str = ""
) -> None:
    """Draws figures of the same things side by side, each on a scale from 0.

    Args:
        panels: Name of the figure -> what was measured -> value, not negative.
        path: The PNG file to write.
        title: One line above the picture.
        note: One line below it.
    """
    measured = list(dict.fromkeys(name for values in panels.values() for name in values))
    figure = new_figure(2.2 + 2.6 * len(panels), 1.2 + 0.3 * len(measured))
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (name, values) in zip(grid, panels.items(), strict=True):
        shown = [(row, values[key]) for row, key in enumerate(measured) if key in values]
        rows, lengths = zip(*shown, strict=True)
        axes.barh(rows, lengths, height=0.6, color=BLUE)
        for row, length in shown:
            axes.text(length, row, f" {length:.3f}", va="center", fontsize=8, color=INK)
        axes.set_xlim(0, 1.25 * max(lengths) or 1.0)
        axes.set_title(name, loc="left", fontsize=10, pad=6)
        plain_axes(axes)
        axes.grid(visible=False)
        axes.tick_params(labelsize=8)
    grid[0].set_yticks(range(len(measured)), measured)
    grid[0].set_ylim(len(measured) - 0.4, -0.6)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.supxlabel(note, x=0.01, ha="left", fontsize=8)
    save_figure(figure, path)


def plot_cosines(
    matrices: Mapping[str, npt.NDArray[np.floating]],
    names: Sequence[str],
    path: str | Path,
    *,
    title: str = "",
) -> None:
    """Draws matrices of cosines, -1..1, with a number in every cell.

    Args:
        matrices: Name -> `(n, n)`.
        names: Of rows and columns.
        path: The PNG file to write.
        title: One line above the picture.
    """
    side = 1.2 + 0.42 * len(names)
    figure = new_figure(side * len(matrices) + 1.0, side + 1.2)
    grid = figure.subplots(1, len(matrices), sharey=True, squeeze=False)[0]
    for axes, (name, matrix) in zip(grid, matrices.items(), strict=True):
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
        for (row, column), cosine in np.ndenumerate(matrix):
            colour = "white" if abs(cosine) > 0.65 else INK
            axes.text(
                column, row, f"{cosine:.2f}".replace("0.", "."), ha="center", va="center",
                fontsize=7, color=colour,
            )  # fmt: skip
        axes.set_xticks(range(len(names)), list(names), rotation=45, ha="right", fontsize=8)
        axes.set_yticks(range(len(names)), list(names), fontsize=8)
        axes.set_title(name, loc="left", fontsize=10, pad=6)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=list(grid), fraction=0.02, pad=0.01)
    bar.outline.set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    save_figure(figure, path)


def plot_histograms(
    values: Mapping[str, npt.NDArray[np.floating]],
    path: str | Path,
    *,
    title: str = "",
    note: str = "",
) -> None:
    """Draws how cosines are spread over -1..1, one histogram over the other.

    Args:
        values: Name -> `(n,)`.
        path: The PNG file to write.
        title: One line above the picture.
        note: One line below it.
    """
    figure = new_figure(6.4, 3.4)
    axes = figure.subplots()
    edges = np.linspace(-1, 1, 61)
    for place, (name, cosines) in enumerate(values.items()):
        axes.hist(
            cosines, bins=edges, weights=np.full(len(cosines), 1 / len(cosines)), label=name,
            color=LINES[place % 6], alpha=0.6,
        )  # fmt: skip
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    axes.set_xlabel(note, fontsize=8)
    axes.set_ylabel("share of the faces", fontsize=9)
    axes.set_title(title, loc="left", fontsize=11, pad=10)
    axes.legend(frameon=False, fontsize=9)
    plain_axes(axes)
    save_figure(figure, path)
