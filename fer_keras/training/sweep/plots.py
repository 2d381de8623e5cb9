"""The picture of a sweep: trials in turn, which settings matter, and how settings go together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.common.files import atomic_path
from fer_keras.reporting.plots import BLUE, GREY, INK, ORANGE


@dataclass(frozen=True)
class Axis:
    """One setting, for a vertical axis.

    Attributes:
        name: Its short name.
        places: Where each trial lies, 0 at the bottom to 1 at the top, `(trials,)`.
        ticks: `(place, text)` of what stands beside the axis.
    """

    name: str
    places: np.ndarray
    ticks: Sequence[tuple[float, str]]


def numeric_axis(name: str, values: Sequence[float], *, log: bool = False) -> Axis:
    """An axis of numbers.

    Args:
        name: Its short name.
        values: One for each trial.
        log: Whether equal ratios are equal distances.
    """
    numbers = np.log(np.asarray(values, float)) if log else np.asarray(values, float)
    low, high = float(numbers.min()), float(numbers.max())
    width = high - low or 1.0
    marks = np.linspace(low, high, 3) if high > low else [low]
    ticks = [((mark - low) / width, f"{np.exp(mark) if log else mark:.3g}") for mark in marks]
    return Axis(name, (numbers - low) / width, ticks)


def listed_axis(name: str, values: Sequence[Any], choices: Sequence[Any]) -> Axis:
    """An axis of listed values, evenly spaced in their order.

    Args:
        name: Its short name.
        values: One of the choices for each trial.
        choices: All of them.
    """
    places = np.linspace(0, 1, len(choices)) if len(choices) > 1 else np.array([0.5])
    at = dict(zip(choices, places.tolist(), strict=True))
    return Axis(
        name,
        np.array([at[value] for value in values]),
        [(place, str(choice)) for choice, place in at.items()],
    )


def plot_sweep(
    path: Path,
    *,
    title: str,
    monitor: str,
    numbers: Sequence[int],
    values: Sequence[float],
    finished: Sequence[bool],
    importance: dict[str, float],
    axes: Sequence[Axis],
) -> None:
    """Draws all trials that have a figure.

    Args:
        path: The PNG.
        title: Above it.
        monitor: The figure that trials are compared by; lower is better where it is a loss.
        numbers: Their numbers, `(trials,)`.
        values: Their figures; of a pruned trial the last one.
        finished: Whether a trial was trained to its end.
        importance: Setting -> share of the differences between trials that it explains.
        axes: The settings.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ended = np.array(finished)
    figure = plt.figure(figsize=(11, 7.4), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(1, 1.15), width_ratios=(1.5, 1))
    _turns(figure.add_subplot(grid[0, 0]), monitor, np.array(numbers), np.array(values), ended)
    _importance(figure.add_subplot(grid[0, 1]), importance)
    _lines(figure, figure.add_subplot(grid[1, :]), monitor, np.array(values), ended, axes)
    figure.suptitle(title, color=INK)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


def _turns(
    axis: Any, monitor: str, numbers: np.ndarray, values: np.ndarray, ended: np.ndarray
) -> None:
    """Trials in the order of their numbers, and the best so far."""
    from matplotlib.ticker import MaxNLocator

    best = np.minimum.accumulate if monitor.endswith("loss") else np.maximum.accumulate
    axis.step(numbers[ended], best(values[ended]), where="post", color=ORANGE, label="best so far")
    axis.plot(numbers[ended], values[ended], "o", color=BLUE, label="finished")
    if not ended.all():
        label = "pruned, last epoch"
        axis.plot(numbers[~ended], values[~ended], "o", mfc="none", color=GREY, label=label)
    axis.set(xlabel="trial", ylabel=monitor)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    # Above the dots, which are anywhere below.
    axis.legend(
        frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0
    )
    _plain(axis)


def _importance(axis: Any, importance: dict[str, float]) -> None:
    """A bar for each setting, the most important one on top."""
    if not importance:
        text = "importance of settings:\ntoo few finished trials"
        axis.text(0.5, 0.5, text, ha="center", va="center", color=INK)
        axis.set_axis_off()
        return
    names = sorted(importance, key=lambda name: importance[name])
    bars = axis.barh(names, [importance[name] for name in names], color=BLUE)
    axis.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axis.set(xlim=(0, 1.12), xlabel="importance (fANOVA, shares of 1)")
    _plain(axis)


def _lines(
    figure: Any,
    axis: Any,
    monitor: str,
    values: np.ndarray,
    ended: np.ndarray,
    settings: Sequence[Axis],
) -> None:
    """Parallel coordinates: a line for each trial through its settings to its figure."""
    import matplotlib

    shown = [*settings, numeric_axis(monitor, values.tolist())]
    norm = matplotlib.colors.Normalize(values[ended].min(), values[ended].max())
    name = "viridis_r" if monitor.endswith("loss") else "viridis"
    colours = matplotlib.colormaps[name](norm(values[ended]))
    places = np.array([each.places for each in shown])
    for trial in np.flatnonzero(~ended):
        axis.plot(range(len(shown)), places[:, trial], color=GREY, lw=0.9, ls="--")
    quality = places[-1, ended]
    # The best ones are drawn last.
    for trial in np.argsort(-quality if monitor.endswith("loss") else quality):
        line = places[:, ended][:, trial]
        axis.plot(range(len(shown)), line, color=colours[trial], lw=1.8, alpha=0.9)
    for position, each in enumerate(shown):
        axis.axvline(position, color=INK, lw=0.8)
        for place, text in each.ticks:
            axis.annotate(
                text,
                (position, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=INK,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
            )
    axis.set_xticks(range(len(shown)), [each.name for each in shown])
    axis.set(xlim=(-0.1, len(shown) - 0.75), ylim=(-0.06, 1.06), yticks=[])
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    mapping = matplotlib.cm.ScalarMappable(norm, name)
    figure.colorbar(mapping, ax=axis, label=monitor, pad=0.01)


def _plain(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="both", color="#e2e8f0", lw=0.6)
    axis.set_axisbelow(True)
