"""What the sections about the studies of a run's model hold, for `run_page.html`.

Studies are found by the sha256 of the model file.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_keras.common.html_page import png_uri
from fer_keras.reporting.run_page.charts import NUM_COLOURS, Line, interval_bar, legend, line_chart
from fer_keras.reporting.run_page.content import Content, Study

_MAX_PICTURE_BYTES = 4 << 20


def heatmaps(content: Content, show_data: bool) -> list[dict[str, Any]]:
    """Where the network looks: what the maps are worth, their means, and maps over faces.

    Args:
        content: Of the run.
        show_data: Whether the sheet of pictures of the data set is shown too.

    Returns:
        Of each study `about`, `accuracy`, `rows`, and `sheets` of a name and a data URI.
    """
    found = []
    for study in _of(content, "heatmaps"):
        rows = [row for row in study.record["rows"] if row["model"] == study.model]
        shown = [
            {
                "map": row["map"],
                "accuracies": [
                    f"{row[f'accuracy_{k}']:.4f}" for k in ("highest", "other", "lowest")
                ],
                "needed": f"{row['needed']:+.4f}",
                "margin": f"± {row['needed_margin']:.4f}",
                "eyes": f"{row['eyes']:.0%}",
                "mouth": f"{row['mouth']:.0%}",
            }
            for row in rows
        ]
        stem = re.sub(r"[^a-z0-9]+", "_", study.model.lower()).strip("_")
        sheets = [("drawn", "Maps over drawn faces"), ("mean", "Mean map of each class")]
        if show_data:
            sheets.append((str(study.record["dataset"]), "Maps over pictures of the data set"))
        uris = [(name, _sheet(study.folder / f"{stem}_{kind}.png")) for kind, name in sheets]
        found.append(
            {
                "about": _about(study),
                "accuracy": f"{rows[0]['accuracy']:.4f}",
                "rows": shown,
                "sheets": [(name, uri) for name, uri in uris if uri],
            }
        )
    return found


def robustness(content: Content) -> list[dict[str, Any]]:
    """A small chart for each corruption, and the standard points.

    Args:
        content: Of the run.

    Returns:
        Of each study `about`, `legend`, `charts`, and `points` with their `reference`.
    """
    found = []
    for study in _of(content, "robustness"):
        names = [model["name"] for model in study.record["models"]]
        # The run's own model first, so that it has the first colour.
        names.sort(key=lambda name: name != study.model)
        conditions = study.record["conditions"]
        corruptions = dict.fromkeys(row["corruption"] for row in conditions if row["severity"])
        charts = []
        for corruption in corruptions:
            lines, ticks = [], ["clean"]
            for place, name in enumerate(names):
                rows = [
                    r
                    for r in conditions
                    if r["model"] == name and r["corruption"] in ("clean", corruption)
                ]
                ticks = ["clean", *(_short(row["value"]) for row in rows if row["severity"])]
                lines.append(_line(name, rows, place))
            title = corruption.replace("_", " ")
            charts.append(
                line_chart(title, lines, x_label="", ticks=ticks, y_range=(0.0, 1.0),
                           width=238, height=160)
            )  # fmt: skip
        points = [p for p in study.record["standard_points"] if p["model"] == study.model]
        rows = [
            [
                p["point"],
                f"{p['accuracy']:.4f}",
                f"{p['loss']:.4f}",
                f"{p['reference_accuracy']:.4f}",
                f"{p['reference_loss']:.4f}",
                "" if p["ratio"] is None else f"{p['ratio']:.2f}",
            ]
            for p in points
        ]
        found.append(
            {
                "about": _about(study),
                "legend": legend(names),
                "charts": charts,
                "points": rows,
                "reference": points[0]["reference"] if points else "",
            }
        )
    return found


def resize(content: Content) -> list[dict[str, Any]]:
    """Accuracy through smaller pictures.

    Args:
        content: Of the run.

    Returns:
        Of each study `about`, `legend` and `chart`.
    """
    found = []
    for study in _of(content, "resize"):
        rows = [row for row in study.record["rows"] if row["model"] == study.model]
        pairs = list(dict.fromkeys(row["pair"] for row in rows))
        ticks = [str(row["size"]) for row in rows if row["pair"] == pairs[0]]
        lines = [
            _line(pair, [row for row in rows if row["pair"] == pair], place, band=place == 0)
            for place, pair in enumerate(pairs)
        ]
        lowest = min(row["accuracy_low"] for row in rows)
        chart = line_chart(
            "Accuracy through fewer pixels, by interpolation down-up", lines,
            x_label="pixels a side", ticks=ticks, y_range=(max(0.0, lowest - 0.05), 1.0),
            width=560, height=300,
        )  # fmt: skip
        found.append({"about": _about(study), "legend": legend(pairs), "chart": chart})
    return found


def subgroups(content: Content) -> list[dict[str, Any]]:
    """Accuracy of groups, with a test of each gap.

    Args:
        content: Of the run.

    Returns:
        Of each study `about`, and `attributes` with `rows`, one for each group.
    """
    found = []
    for study in _of(content, "subgroups"):
        (result,) = (r for r in study.record["results"] if r["model"] == study.model)
        attributes = {
            attribute: _groups(figures) for attribute, figures in result["attributes"].items()
        }
        found.append({"about": _about(study), "attributes": attributes})
    return found


def _groups(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a table says of the groups of one attribute."""
    gaps = {gap["group"]: gap for gap in figures["gaps"]}
    rows = []
    for group, row in figures["groups"].items():
        low, high = row["accuracy_interval"]
        gap = gaps.get(group)
        rows.append(
            {
                "group": group,
                "bar": interval_bar(row["accuracy"], low, high),
                "number": row["n"],
                "accuracy": f"{row['accuracy']:.4f}",
                "interval": f"[{low:.4f}, {high:.4f}]",
                "gap": f"{100 * gap['gap']:+.2f}" if gap else "",
                "others": gap["others"] if gap else "",
                "p": f"{gap['p_within_classes_holm']:.4f}" if gap else "",
            }
        )
    return rows


def _of(content: Content, name: str) -> list[Study]:
    return [study for study in content.studies if study.name == name]


def _about(study: Study) -> str:
    record = study.record
    return f"{study.model} on {record['studied_on']}, commit {record['git_commit']}."


def _line(label: str, rows: Sequence[Mapping[str, Any]], place: int, *, band: bool = True) -> Line:
    columns = [[row[key] for row in rows] for key in ("accuracy", "accuracy_low", "accuracy_high")]
    accuracy, low, high = columns
    lower, upper = (low, high) if band else ([], [])
    return Line(label, range(len(rows)), accuracy, lower, upper, place % NUM_COLOURS)


def _short(value: str) -> str:
    """A value of a corruption as a tick: the first number and its sign."""
    found = re.search(r"x?[\d.]+", value)
    return found.group() if found else value


def _sheet(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > _MAX_PICTURE_BYTES:
        return ""
    return png_uri(path.read_bytes())
