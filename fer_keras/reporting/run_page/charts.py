"""Charts as inline SVG, in the colours of the page, so that they follow its light or dark theme."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fer_keras.common.html_page import render

NUM_COLOURS = 6
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 18, 10, 42


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        label: For the legend and for whoever points at it.
        x: Ascending.
        y: As many.
        lower: Lower ends of a band; empty for none.
        upper: Its upper ends.
        colour: 0..5.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    lower: Sequence[float] = ()
    upper: Sequence[float] = ()
    colour: int = 0


@dataclass(frozen=True)
class Mark:
    """A point that is named in the chart.

    Attributes:
        x: As that of the lines.
        y: As that of the lines.
        label: Short.
        below: Whether the name stands below the point.
    """

    x: float
    y: float
    label: str
    below: bool = False


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_range: tuple[float, float],
    ticks: Sequence[str] = (),
    share: bool = True,
    x_share: bool = False,
    marks: Sequence[Mark] = (),
    width: int = 330,
    height: int = 220,
) -> str:
    """Lines over a common axis.

    Args:
        title: Above the chart, plain text.
        lines: At least one, with at least one point.
        x_label: Below it, plain text.
        y_range: Lowest and highest value shown.
        ticks: Names of x = 0, 1, 2, ...; empty for numbers.
        share: Whether values are shares, written in per cent.
        x_share: Whether x is.
        marks: Points to name.
        width: In pixels.
        height: In pixels.

    Returns:
        A `figure`.
    """
    xs = [x for line in lines for x in line.x]
    first, last = (0.0, float(len(ticks) - 1)) if ticks else (min(xs), max(xs))
    low, high = y_range
    spread_x, spread_y = (last - first) or 1.0, (high - low) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        inside = min(max(y, low), high)
        return (
            _LEFT + (width - _LEFT - _RIGHT) * (x - first) / spread_x,
            height - _BOTTOM - (height - _TOP - _BOTTOM) * (inside - low) / spread_y,
        )

    places = [(float(place), name) for place, name in enumerate(ticks)]
    if not ticks:
        values = nice_ticks(first, last)
        if all(float(x).is_integer() for x in xs):
            # There is no half epoch.
            values = [value for value in values if value.is_integer()]
        places = [(v, f"{100 * v:g}%" if x_share else f"{v:g}") for v in values]
    grid = []
    for value in nice_ticks(low, high):
        _, y = at(first, value)
        grid.append((f"{y:.1f}", f"{y + 4:.1f}", f"{100 * value:g}%" if share else f"{value:g}"))
    drawn = []
    for line in lines:
        points = [at(*point) for point in zip(line.x, line.y, strict=True)]
        band, dots = "", []
        if line.lower:
            ends = [at(*point) for point in zip(line.x, line.upper, strict=True)]
            ends += [at(*point) for point in zip(line.x, line.lower, strict=True)][::-1]
            band = _points(ends)
        if len(points) <= 20:
            for (x, y), place, value in zip(points, line.x, line.y, strict=True):
                where = ticks[int(place)] if ticks else f"{place:.0%}" if x_share else f"{place:g}"
                shown = f"{value:.1%}" if share else f"{value:.4g}"
                dots.append({"x": f"{x:.1f}", "y": f"{y:.1f}", "where": where, "value": shown})
        drawn.append(
            {
                "label": line.label,
                "colour": line.colour,
                "points": _points(points),
                "band": band,
                "dots": dots,
            }
        )
    named = []
    for mark in marks:
        x, y = at(mark.x, mark.y)
        end = x > width / 2
        named.append(
            {
                "x": f"{x:.1f}",
                "y": f"{y:.1f}",
                "text_x": f"{x + (-8 if end else 8):.1f}",
                "text_y": f"{y + (18 if mark.below else -8):.1f}",
                "is_end": end,
                "label": mark.label,
            }
        )
    return render(
        "line_chart.html",
        title=title,
        width=width,
        height=height,
        left=_LEFT,
        right=width - _RIGHT,
        base=height - _BOTTOM,
        middle=f"{(_LEFT + width - _RIGHT) / 2:g}",
        x_label=x_label,
        grid=grid,
        ticks=[(f"{at(place, low)[0]:.1f}", name) for place, name in places],
        lines=drawn,
        marks=named,
    )


def legend(labels: Sequence[str]) -> str:
    """Names of the colours, in their order."""
    return render("legend.html", labels=labels, num_colours=NUM_COLOURS)


def interval_bar(value: float, low: float, high: float, *, width: int = 130) -> str:
    """A share with its interval on a line from 0 to 1, for a cell of a table."""
    x, left, right = (4 + (width - 8) * share for share in (value, low, high))
    return render(
        "interval_bar.html",
        width=width,
        label=f"{value:.3f}, from {low:.3f} to {high:.3f}",
        x=f"{x:.1f}",
        left=f"{left:.1f}",
        right=f"{right:.1f}",
    )


def reliability_chart(bins: Sequence[dict[str, float | None]]) -> str:
    """Accuracy against confidence, and how many answers have which confidence.

    Args:
        bins: Of a result file: `lower`, `upper`, `count`, `confidence`, `accuracy`.

    Returns:
        A `figure`.
    """
    width, height, histogram = 330, 300, 60
    top, base, left, right = _TOP, height - _BOTTOM - histogram, _LEFT, width - _RIGHT
    total = max(float(b["count"] or 0) for b in bins) or 1.0

    def across(share: float) -> float:
        return left + (right - left) * share

    def up(share: float) -> float:
        return base - (base - top) * share

    drawn = []
    for b in bins:
        x, wide = across(b["lower"] or 0.0), across(b["upper"] or 0.0) - across(b["lower"] or 0.0)
        count = float(b["count"] or 0)
        tall = (histogram - 12) * count / total
        shapes = {
            "x": f"{x + 1:.1f}",
            "width": f"{wide - 2:.1f}",
            "count": f"{count:,.0f}",
            "count_y": f"{height - _BOTTOM - tall:.1f}",
            "count_height": f"{tall:.1f}",
            "kind": "",
        }
        accuracy, confidence = b["accuracy"], b["confidence"]
        if accuracy is not None and confidence is not None:
            least, most = sorted((accuracy, confidence))
            shapes |= {
                "kind": "too-sure" if confidence > accuracy else "not-sure-enough",
                "low_y": f"{up(least):.1f}",
                "low_height": f"{base - up(least):.1f}",
                "gap_y": f"{up(most):.1f}",
                "gap_height": f"{up(least) - up(most):.1f}",
                "confidence": f"{confidence:.1%}",
                "accuracy": f"{accuracy:.1%}",
            }
        drawn.append(shapes)
    return render(
        "reliability_chart.html",
        width=width,
        height=height,
        left=left,
        right=right,
        bottom=height - _BOTTOM,
        middle=f"{(left + right) / 2:g}",
        perfect=(f"{up(0):.1f}", f"{up(1):.1f}"),
        ticks=[
            {
                "name": f"{tick:.0%}",
                "x": f"{across(tick):.1f}",
                "y": f"{up(tick):.1f}",
                "text_y": f"{up(tick) + 4:.1f}",
            }
            for tick in (0.0, 0.25, 0.5, 0.75, 1.0)
        ],
        bins=drawn,
    )


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers in a range, about `count` of them."""
    spread = high - low
    if not spread > 0:
        return [low]
    power = 10 ** math.floor(math.log10(spread / count))
    step = next(power * f for f in (1, 2, 2.5, 5, 10) if spread / (power * f) <= count)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
