"""Tables as Markdown and CSV."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_keras.common.files import atomic_path


def file_stem(name: str) -> str:
    """A name as part of a file's name: small letters, digits and `_`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown whose columns also line up on a terminal.

    Args:
        header: Names of the columns.
        rows: Cells; the first column is aligned left, the others right.

    Returns:
        Lines joined by newlines, without a last newline.
    """
    # Two, because the rule of a column is at least "-:".
    widths = [max(2, *(len(row[i]) for row in (header, *rows))) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *rest = cells
        padded = [first.ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(header), line(rule), *(line(row) for row in rows)])


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a csv file, by the names in its first line; a byte order mark is passed over."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replaces a csv file in one step.

    Args:
        path: The file.
        rows: At least one; the keys of the first one are the columns.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
