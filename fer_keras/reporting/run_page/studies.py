"""The sections about the studies of a run's model.

Studies are found by the sha256 of the model file.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_keras.common.html_page import png_uri, table, text
from fer_keras.reporting.run_page.charts import NUM_COLOURS, Line, interval_bar, legend, line_chart
from fer_keras.reporting.run_page.content import Content, Study

_MAX_PICTURE_BYTES = 4 << 20


def heatmaps(content: Content, show_data: bool) -> str:
    """Where the network looks: what the maps are worth, their means, and maps over faces.

    Args:
        content: Of the run.
        show_data: Whether the sheet of pictures of the data set is shown too.
    """
    parts = []
    for study in _of(content, "heatmaps"):
        rows = [row for row in study.record["rows"] if row["model"] == study.model]
        cells = [
            [
                text(row["map"]),
                *(f"{row[f'accuracy_{what}']:.4f}" for what in ("highest", "other", "lowest")),
                f"{row['needed']:+.4f} <small>± {row['needed_margin']:.4f}</small>",
                f"{row['eyes']:.0%}",
                f"{row['mouth']:.0%}",
            ]
            for row in rows
        ]
        header = ["Map", "Highest quarter hidden", "Another picture's", "Lowest", "Needed",
                  "On eyes", "On mouth"]  # fmt: skip
        parts.append(_about(study) + table("What heatmaps are worth", header, cells))
        parts.append(
            '<p class="note">Accuracy with a quarter of each picture hidden '
            f"({rows[0]['accuracy']:.4f} with nothing hidden). Needed: what hiding a map's highest "
            "quarter costs more than hiding that of another picture. A flat map has 25 % on the "
            "rows of the eyes and 33 % on those of the mouth.</p>"
        )
        stem = re.sub(r"[^a-z0-9]+", "_", study.model.lower()).strip("_")
        sheets = [("drawn", "Maps over drawn faces"), ("mean", "Mean map of each class")]
        if show_data:
            sheets.append((str(study.record["dataset"]), "Maps over pictures of the data set"))
        figures = "".join(_sheet(study.folder / f"{stem}_{k}.png", name) for k, name in sheets)
        parts.append(f'<div class="sheets">{figures}</div>')
    return "".join(parts)


def robustness(content: Content) -> str:
    """A small chart for each corruption, and the standard points."""
    parts = []
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
        parts.append(
            _about(study) + legend(names) + f'<div class="charts small">{"".join(charts)}</div>'
        )
        points = [p for p in study.record["standard_points"] if p["model"] == study.model]
        if points:
            rows = [
                [
                    text(p["point"]),
                    f"{p['accuracy']:.4f}",
                    f"{p['loss']:.4f}",
                    f"{p['reference_accuracy']:.4f}",
                    f"{p['reference_loss']:.4f}",
                    "" if p["ratio"] is None else f"{p['ratio']:.2f}",
                ]
                for p in points
            ]
            reference = text(points[0]["reference"])
            header = ["Point", "Accuracy", "Loss", f"{reference}: accuracy", "Loss", "Ratio"]
            parts.append("<h3>Standard points</h3>" + table("Standard points", header, rows))
    return "".join(parts)


def resize(content: Content) -> str:
    """Accuracy through smaller pictures."""
    parts = []
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
        parts.append(_about(study) + legend(pairs) + chart)
    return "".join(parts)


def subgroups(content: Content) -> str:
    """Accuracy of groups, with a test of each gap."""
    parts = []
    for study in _of(content, "subgroups"):
        (result,) = (r for r in study.record["results"] if r["model"] == study.model)
        parts.append(_about(study))
        for attribute, found in result["attributes"].items():
            gaps = {gap["group"]: gap for gap in found["gaps"]}
            rows = []
            for group, row in found["groups"].items():
                low, high = row["accuracy_interval"]
                gap = gaps.get(group)
                rows.append(
                    [
                        text(group),
                        interval_bar(row["accuracy"], low, high),
                        f"{row['n']:,}",
                        f"{row['accuracy']:.4f} <small>[{low:.4f}, {high:.4f}]</small>",
                        f"{100 * gap['gap']:+.2f} <small>to {text(gap['others'])}</small>"
                        if gap
                        else "",
                        f"{gap['p_within_classes_holm']:.4f}" if gap else "",
                    ]
                )
            header = ["Group", "Accuracy", "Pictures", "Accuracy [95 %]", "Gap, points",
                      "p within classes"]  # fmt: skip
            parts.append(f"<h3>{text(attribute)}</h3>")
            parts.append(table(f"Groups by {text(attribute)}", header, rows, texts=2))
        parts.append(
            '<p class="note">p: permutation test within each class, corrected by Holm over the '
            "gaps of the model.</p>"
        )
    return "".join(parts)


def _of(content: Content, name: str) -> list[Study]:
    return [study for study in content.studies if study.name == name]


def _about(study: Study) -> str:
    return (
        f'<p class="note">{text(study.model)} on {text(study.record["studied_on"])}, commit '
        f"{text(study.record['git_commit'])}.</p>"
    )


def _line(label: str, rows: Sequence[Mapping[str, Any]], place: int, *, band: bool = True) -> Line:
    columns = [[row[key] for row in rows] for key in ("accuracy", "accuracy_low", "accuracy_high")]
    accuracy, low, high = columns
    lower, upper = (low, high) if band else ([], [])
    return Line(label, range(len(rows)), accuracy, lower, upper, place % NUM_COLOURS)


def _short(value: str) -> str:
    """A value of a corruption as a tick: the first number and its sign."""
    found = re.search(r"x?[\d.]+", value)
    return found.group() if found else value


def _sheet(path: Path, name: str) -> str:
    if not path.is_file() or path.stat().st_size > _MAX_PICTURE_BYTES:
        return ""
    return (
        f"<figure><figcaption>{text(name)}</figcaption>"
        f'<img class="sheet" src="{png_uri(path.read_bytes())}" alt="{text(name)}"></figure>'
    )
