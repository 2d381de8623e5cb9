"""Charts as inline SVG, in the colours of the page, so that they follow its light or dark theme."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fer_keras.common.html_page import svg, text

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

    base = height - _BOTTOM
    shapes = []
    for value in nice_ticks(low, high):
        _, y = at(first, value)
        name = f"{100 * value:g}%" if share else f"{value:g}"
        shapes.append(
            f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" class="small end">{name}</text>'
        )
    places = [(float(place), name) for place, name in enumerate(ticks)]
    if not ticks:
        values = nice_ticks(first, last)
        places = [(v, f"{100 * v:g}%" if x_share else f"{v:g}") for v in values]
    for place, name in places:
        x, _ = at(place, low)
        shapes.append(f'<text x="{x:.1f}" y="{base + 15}" class="small middle">{text(name)}</text>')
    shapes.append(
        f'<text x="{(_LEFT + width - _RIGHT) / 2:g}" y="{height - 8}" class="small middle">'
        f"{text(x_label)}</text>"
    )
    for line in lines:
        if line.lower:
            ends = [at(*point) for point in zip(line.x, line.upper, strict=True)]
            ends += [at(*point) for point in zip(line.x, line.lower, strict=True)][::-1]
            shapes.append(f'<polygon class="band colour{line.colour}" points="{_points(ends)}"/>')
    for line in lines:
        points = [at(*point) for point in zip(line.x, line.y, strict=True)]
        shapes.append(f'<polyline class="line colour{line.colour}" points="{_points(points)}"/>')
        if len(points) <= 20:
            for (x, y), place, value in zip(points, line.x, line.y, strict=True):
                where = ticks[int(place)] if ticks else f"{place:.0%}" if x_share else f"{place:g}"
                shown = f"{value:.1%}" if share else f"{value:.4g}"
                shapes.append(
                    f'<circle class="dot colour{line.colour}" cx="{x:.1f}" cy="{y:.1f}" r="3">'
                    f"<title>{text(line.label)}, {text(where)}: {shown}</title></circle>"
                )
    for mark in marks:
        x, y = at(mark.x, mark.y)
        end = x > width / 2
        shapes.append(
            f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
            f'<text x="{x + (-8 if end else 8):.1f}" y="{y + (18 if mark.below else -8):.1f}" '
            f'class="small{" end" if end else ""}">{text(mark.label)}</text>'
        )
    return (
        f"<figure class=chart><figcaption>{text(title)}</figcaption>"
        f"{svg(width, height, text(title), shapes)}</figure>"
    )


def legend(labels: Sequence[str]) -> str:
    """Names of the colours, in their order."""
    names = "".join(
        f'<span><i class="colour{place % NUM_COLOURS}"></i>{text(label)}</span>'
        for place, label in enumerate(labels)
    )
    return f'<p class="legend">{names}</p>'


def interval_bar(value: float, low: float, high: float, *, width: int = 130) -> str:
    """A share with its interval on a line from 0 to 1, for a cell of a table."""
    x, left, right = (4 + (width - 8) * share for share in (value, low, high))
    shapes = [
        f'<line class="grid" x1="4" x2="{width - 4}" y1="8" y2="8"/>',
        f'<line class="whisker" x1="{left:.1f}" x2="{right:.1f}" y1="8" y2="8"/>',
        f'<circle class="dot colour0" cx="{x:.1f}" cy="8" r="4"/>',
    ]
    return svg(width, 16, f"{value:.3f}, from {low:.3f} to {high:.3f}", shapes)


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

    shapes = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        shapes.append(
            f'<line class="grid" x1="{left}" x2="{right}" y1="{up(tick):.1f}" y2="{up(tick):.1f}"/>'
            f'<text x="{left - 6}" y="{up(tick) + 4:.1f}" class="small end">{tick:.0%}</text>'
            f'<text x="{across(tick):.1f}" y="{height - _BOTTOM + 15}" class="small middle">'
            f"{tick:.0%}</text>"
        )
    for b in bins:
        x, wide = across(b["lower"] or 0.0), across(b["upper"] or 0.0) - across(b["lower"] or 0.0)
        count = float(b["count"] or 0)
        tall = (histogram - 12) * count / total
        shapes.append(
            f'<rect class="soft-bar" x="{x + 1:.1f}" y="{height - _BOTTOM - tall:.1f}" '
            f'width="{wide - 2:.1f}" height="{tall:.1f}"><title>{count:,.0f} answers</title></rect>'
        )
        accuracy, confidence = b["accuracy"], b["confidence"]
        if accuracy is None or confidence is None:
            continue
        kind = "too-sure" if confidence > accuracy else "not-sure-enough"
        edges = sorted((accuracy, confidence))
        shapes.append(
            f'<rect class="colour0" x="{x + 1:.1f}" y="{up(edges[0]):.1f}" '
            f'width="{wide - 2:.1f}" height="{base - up(edges[0]):.1f}"/>'
            f'<rect class="{kind}" x="{x + 1:.1f}" y="{up(edges[1]):.1f}" '
            f'width="{wide - 2:.1f}" height="{up(edges[0]) - up(edges[1]):.1f}">'
            f"<title>{count:,.0f} answers, confidence {confidence:.1%}, right {accuracy:.1%}"
            "</title></rect>"
        )
    shapes.append(
        f'<line class="perfect" x1="{left}" x2="{right}" y1="{up(0):.1f}" y2="{up(1):.1f}"/>'
        f'<text x="{(left + right) / 2:g}" y="{height - 8}" class="small middle">confidence</text>'
    )
    return (
        "<figure class=chart><figcaption>Share of right answers by confidence; below it, how many "
        f"answers</figcaption>{svg(width, height, 'Reliability diagram', shapes)}</figure>"
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
