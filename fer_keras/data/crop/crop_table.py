"""The folder that `crop` writes: its table, what it was made with, and going on after a kill.

`OUT/pictures` holds the pictures, `OUT/crops.csv` a row for each photo (or face), and
`OUT/settings.json` what the run was asked for. A photo's pictures are written before its rows.
"""

import csv
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fer_keras.common.errors import DataError
from fer_keras.common.files import write_text
from fer_keras.runtime.faces import Face

Row = dict[str, str]

PICTURES = "pictures"
TABLE = "crops.csv"
SETTINGS = "settings.json"

_BOX = ("x", "y", "width", "height")
_LANDMARKS = tuple(
    f"{name}_{axis}"
    for name in ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    for axis in "xy"
)
COLUMNS = (
    "path",
    "status",
    "reason",
    "faces",
    "face_number",
    *_BOX,
    *_LANDMARKS,
    "score",
    "output",
)
# What became of a photo: its face was kept, the largest of several was kept, there was none and
# nothing was kept, or the whole photo was, or it could not be read.
STATUSES = ("kept", "largest_kept", "no_face", "whole_kept", "unreadable")

_NUMBER = re.compile(r"_(face\d+|whole)$")
_HALF_WRITTEN = re.compile(r"\..*\.\d+\.tmp\.\w+")


def make_row(name: str, status: str, face: Face | None = None, **values: str) -> Row:
    """One row of the table.

    Args:
        name: Path of the photo below the source.
        status: One of `STATUSES`.
        face: Its box, landmarks and score are written down, in pixels of the photo.
        **values: Further columns.

    Returns:
        Every column of `COLUMNS`; empty where there is nothing to say.
    """
    row = {**dict.fromkeys(COLUMNS, ""), "path": name, "status": status, **values}
    if face is not None:
        row.update(zip(_BOX, (f"{side:.2f}" for side in face.box), strict=True))
        row["score"] = f"{face.score:.4f}"
    if face is not None and face.landmarks is not None:
        row.update(zip(_LANDMARKS, (f"{x:.2f}" for x in face.landmarks.ravel()), strict=True))
    return row


def csv_text(rows: Iterable[Row]) -> str:
    """Rows as lines of the table."""
    stream = io.StringIO(newline="")
    csv.DictWriter(stream, COLUMNS, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def write_table(out: Path, rows: Mapping[str, list[Row]]) -> None:
    """Replace the table in one step.

    Args:
        out: The folder.
        rows: Name of a photo -> its rows.
    """
    heading = csv_text([dict(zip(COLUMNS, COLUMNS, strict=True))])
    write_text(out / TABLE, heading + "".join(csv_text(rows[name]) for name in sorted(rows)))


def open_folder(out: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder, or check that it is from an earlier run with the same settings.

    Args:
        out: The folder.
        settings: All that the pictures depend on, as JSON values.

    Raises:
        DataError: It holds something else, or the settings differ.
    """
    path = out / SETTINGS
    if not path.is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise DataError(
                "--out: expected an empty or new folder, or one from an earlier run; this holds "
                f"something else. Choose another: {out}"
            )
        out.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(settings, indent=2) + "\n")
        return
    try:
        earlier = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"not JSON settings ({error}). Choose another --out: {path}") from error
    changed = [
        f"{key} {earlier.get(key)!r}, now {settings.get(key)!r}"
        for key in sorted({*earlier, *settings})
        if earlier.get(key) != settings.get(key)
    ]
    if changed:
        raise DataError(
            f"--out: holds the crops of a run with other settings ({'; '.join(changed)}). Choose "
            f"another, or delete it first: {out}"
        )


def finished_rows(out: Path) -> dict[str, list[Row]]:
    """The rows of the photos that need no second look.

    Args:
        out: The folder, opened.

    Returns:
        Name of a photo -> its rows; without photos that could not be read, and those of which rows
        or pictures are missing.

    Raises:
        DataError: The table has other columns.
    """
    path = out / TABLE
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    # A line that a kill cut off has no end.
    lines = csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))
    if tuple(next(lines, ())) != COLUMNS:
        raise DataError(f"expected the columns {', '.join(COLUMNS)}. Choose another --out: {path}")
    found: dict[str, list[Row]] = defaultdict(list)
    for line in lines:
        if len(line) == len(COLUMNS):
            found[line[0]].append(dict(zip(COLUMNS, line, strict=True)))
    return {name: rows for name, rows in found.items() if _is_finished(out, rows)}


def _is_finished(out: Path, rows: list[Row]) -> bool:
    first = rows[0]
    # With --faces all each face has a row.
    expected = max(1, int(first["faces"] or 0)) if first["status"] == "kept" else 1
    return (
        first["status"] != "unreadable"
        and len(rows) == expected
        and all((out / row["output"]).is_file() for row in rows if row["output"])
    )


def refuse_foreign_files(out: Path, finished: Iterable[list[Row]], stems: Iterable[str]) -> None:
    """Remove what a kill left half-written, and refuse what no run can have written.

    Args:
        out: The folder, opened.
        finished: As `finished_rows` gives them.
        stems: Every photo's `output_stems`.

    Raises:
        DataError: There are other files; names the first five.
    """
    recorded = {row["output"] for rows in finished for row in rows}
    expected = set(stems)
    foreign = [path for path in out.iterdir() if path.name not in (PICTURES, TABLE, SETTINGS)]
    for path in (out / PICTURES).rglob("*"):
        stem = path.relative_to(out / PICTURES).as_posix().removesuffix(".png")
        may_be_ours = stem in expected or _NUMBER.sub("", stem) in expected
        if path.is_file() and path.relative_to(out).as_posix() not in recorded and not may_be_ours:
            foreign.append(path)
    for path in [path for path in foreign if _HALF_WRITTEN.fullmatch(path.name)]:
        path.unlink()
        foreign.remove(path)
    if foreign:
        listed = ", ".join(str(path) for path in sorted(foreign)[:5])
        raise DataError(f"--out: {len(foreign)} are not from this command. Move away: {listed}")


def output_stems(names: Iterable[str]) -> dict[str, str]:
    """What a photo's pictures are called, without their ending.

    Args:
        names: Paths of the photos below the source.

    Returns:
        Name -> the same without its suffix, which is kept where photos differ in it alone.

    Raises:
        DataError: Two photos would still write the same file.
    """
    # Some file systems do not tell large letters from small ones.
    plain = {name: name.rpartition(".")[0] for name in names}
    shared = Counter(stem.lower() for stem in plain.values())
    stems = {name: stem if shared[stem.lower()] == 1 else name for name, stem in plain.items()}
    seen: dict[str, str] = {}
    for name, stem in stems.items():
        other = seen.setdefault(stem.lower(), name)
        if other != name:
            raise DataError(f"the crops of {other} and {name} would clash. Rename one of them")
    return stems


def detection_table(rows: Iterable[Row]) -> list[list[str]]:
    """How many photos of each folder have a face.

    Args:
        rows: Of the table.

    Returns:
        A heading, a line for each folder of the source and one for all. The rate is photos with a
        face among those that could be read.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for path, row in {row["path"]: row for row in rows}.items():
        count = counts[Path(path).parent.as_posix()]
        count[row["status"]] += 1
        count["several"] += int(row["faces"] or 0) > 1
    lines = [*sorted(counts.items()), ("total", sum(counts.values(), Counter()))]
    table = [["folder", "photos", "with a face", "several", "without", "unreadable", "rate %"]]
    for folder, count in lines:
        found = count["kept"] + count["largest_kept"]
        missed = count["no_face"] + count["whole_kept"]
        photos = found + missed + count["unreadable"]
        rate = f"{100 * found / (found + missed):.1f}" if found + missed else "-"
        numbers = (photos, found, count["several"], missed, count["unreadable"])
        table.append([folder, *map(str, numbers), rate])
    return table
