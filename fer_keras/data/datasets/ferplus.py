"""FER+: ten annotators' votes for every FER2013 image, in eight emotions.

Source: Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced
Label Distribution", ICMI 2016. The pixels are those of FER2013; row i of the vote file belongs to
row i of the FER2013 csv. Validation and test are scored with the majority rule.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_keras.common.errors import DataError
from fer_keras.common.labels import EMOTIONS
from fer_keras.data.datasets.pixel_csv import (
    PixelTable,
    columns_by_name,
    find_csv,
    missing_split_notes,
    open_text,
    read_pixel_csv,
    usage_split,
)
from fer_keras.data.samples import SPLITS, DatasetInfo, Example, SourceContent
from fer_keras.data.votes import VOTE_COLUMNS, targets_from_votes

_VOTE_FILE = "fer2013new.csv"
# FER2013's code of each of our emotions, in their order; it has no contempt.
_FER2013_CODES = np.array([6, 3, 5, 4, 0, 1, 2, -1])
# FER2013's labels agree with the votes in two rows of three; those of other rows in one of five.
_LEAST_AGREEMENT = 0.4
_LEAST_ROWS = 100  # of a split, for its agreement to say anything

INFO = DatasetInfo(
    name="ferplus",
    title="FER+, FER2013 with ten votes for each image in 8 emotions",
    class_names=EMOTIONS,
    codes=dict(enumerate(EMOTIONS)),
    # By the majority rule.
    official_counts={
        "train": dict(zip(EMOTIONS, (8740, 7287, 3149, 3014, 2100, 119, 532, 119), strict=True)),
        "validation": dict(zip(EMOTIONS, (1182, 865, 415, 351, 287, 24, 62, 13), strict=True)),
        "test": dict(zip(EMOTIONS, (1090, 893, 396, 384, 273, 18, 83, 16), strict=True)),
    },
    splits=SPLITS,
    licence=(
        "Votes: MIT (Microsoft). Images: those of FER2013, no redistribution licence is known; "
        "for research, neither the pixels nor pictures of them may be passed on."
    ),
    citation=(
        "Barsoum et al., Training Deep Networks for Facial Expression Recognition with "
        "Crowd-Sourced Label Distribution, ICMI 2016"
    ),
    how_to_get=(
        "1. Get FER2013 (`python -m fer_keras.data describe fer2013`) into the folder fer2013 of "
        "your data folder.\n"
        "2. Download fer2013new.csv from the GitHub repository microsoft/FERPlus.\n"
        "3. Put it beside the FER2013 csv, or in the folder ferplus of your data folder, and point "
        "FER_KERAS_DATA at the data folder."
    ),
    has_votes=True,
    version="1.0.1",
    crops="cut out by OpenCV's face cascade, 48 x 48 pixels (Goodfellow et al. 2013)",
)


@dataclass(frozen=True)
class _VoteTable:
    votes: np.ndarray  # (n, 10)
    splits: np.ndarray  # (n,)
    names: np.ndarray  # (n,) "" where the authors exported no image


def find(folder: Path) -> Path | None:
    """The vote file in a data folder that also holds, or stands beside, the FER2013 csv.

    Args:
        folder: The folder of the vote file, or a folder with `ferplus` or `fer2013` below it.

    Returns:
        Path of fer2013new.csv; None unless the pixels are found too.
    """
    for place in (folder, folder / "ferplus", folder / "fer2013"):
        votes = place / _VOTE_FILE
        if votes.is_file() and _find_pixels(votes) is not None:
            return votes
    return None


def source_files(source: Path) -> tuple[Path, ...]:
    """The files a prepared copy depends on: votes and pixels."""
    return (source, _pixel_file(source))


def read(source: Path) -> SourceContent:
    """Joins the votes with the pixels, row by row.

    Rows without an image name are left out: their authors exported no image for them, and they
    hold no face.

    Args:
        source: fer2013new.csv.

    Returns:
        The official splits; a copy without PrivateTest rows has two, and a note says so.

    Raises:
        DataError: A file is missing or wrong, or the two files do not belong together.
    """
    pixel_file = _pixel_file(source)
    table = _read_votes(source)
    pixels = read_pixel_csv(pixel_file)
    _check_join(source, table, pixel_file, pixels)
    count = min(len(table.votes), len(pixels.pixels))
    labels = np.full(len(table.votes), -1, np.int64)
    targets, kept = targets_from_votes(table.votes, "majority")
    labels[kept] = np.argmax(targets, axis=1)
    _check_order(source, table, labels[:count], pixel_file, pixels)
    splits: dict[str, Iterable[Example]] = {}
    for split in SPLITS:
        chosen = (table.splits[:count] == split) & (table.names[:count] != "")
        rows = np.flatnonzero(chosen)
        if len(rows):
            splits[split] = _examples(table, labels, pixels, rows)
    without_image = int(np.count_nonzero(table.names[:count] == ""))
    notes = missing_split_notes(pixel_file, splits)
    if without_image:
        notes = (*notes, f"{without_image} rows without an image name left out, as by the authors")
    return SourceContent(INFO.class_names, splits, notes)


def _examples(
    table: _VoteTable, labels: np.ndarray, pixels: PixelTable, rows: np.ndarray
) -> Iterator[Example]:
    for row in rows:
        yield Example(
            image=pixels.pixels[row][..., np.newaxis],
            label=int(labels[row]),
            source=str(table.names[row]),
            votes=table.votes[row],
        )


def _find_pixels(votes: Path) -> Path | None:
    return find_csv(votes.parent) or find_csv(votes.parent.parent / "fer2013")


def _pixel_file(votes: Path) -> Path:
    found = _find_pixels(votes)
    if found is None:
        raise DataError(
            f"{votes}: the FER2013 csv with the pixels is missing. Expected: fer2013.csv (or "
            f".csv.gz, .zip, .tar.gz) in {votes.parent} or {votes.parent.parent / 'fer2013'}."
        )
    return found


def _read_votes(path: Path) -> _VoteTable:
    wanted = ("usage", "image name", *(name.lower() for name in VOTE_COLUMNS))
    votes: list[list[int]] = []
    splits: list[str] = []
    names: list[str] = []
    with open_text(path) as lines:
        reader = csv.reader(lines)
        usage, image_name, *columns = columns_by_name(path, next(reader, []), wanted)
        for number, row in enumerate(reader, start=1):
            if len(row) != len(wanted):
                raise DataError(
                    f"{path}, row {number}: expected {len(wanted)} columns. Received: {len(row)}."
                )
            cells = [row[column].strip() for column in columns]
            if not all(cell.isascii() and cell.isdigit() for cell in cells):
                raise DataError(
                    f"{path}, row {number}: expected {len(columns)} vote counts of 0 or more. "
                    f"Received: {', '.join(cells)[:80]}."
                )
            votes.append([int(cell) for cell in cells])
            splits.append(usage_split(path, number, row[usage]))
            names.append(row[image_name].strip())
    if not votes:
        raise DataError(f"{path}: expected rows after the header. Received: none.")
    return _VoteTable(np.array(votes, np.int64), np.array(splits), np.array(names))


def _check_join(source: Path, table: _VoteTable, pixel_file: Path, pixels: PixelTable) -> None:
    """The two files must name the same split in every row they share.

    Either file may end before the PrivateTest rows; nothing else may be missing.
    """
    count = min(len(table.splits), len(pixels.splits))
    differing = np.flatnonzero(table.splits[:count] != pixels.splits[:count])
    if len(differing):
        row = int(differing[0])
        raise DataError(
            f"{source} does not belong to {pixel_file}: expected the same Usage in row {row + 1}. "
            f"Received: {table.splits[row]} and {pixels.splits[row]}."
        )
    rest = np.concatenate([table.splits[count:], pixels.splits[count:]])
    if (rest != "test").any() or (len(rest) and (table.splits[:count] == "test").any()):
        raise DataError(
            f"{source} does not belong to {pixel_file}: expected as many rows in both. Received: "
            f"{len(table.splits)} and {len(pixels.splits)}."
        )


def _check_order(
    source: Path, table: _VoteTable, labels: np.ndarray, pixel_file: Path, pixels: PixelTable
) -> None:
    """Rows in another order inside a split would give every picture another picture's votes."""
    mend = f"Download {_VOTE_FILE} again (microsoft/FERPlus) and do not sort it"
    for split in SPLITS:
        rows = np.flatnonzero((table.splits[: len(labels)] == split) & (labels >= 0))
        if len(rows) < _LEAST_ROWS:
            continue
        agreement = float(np.mean(_FER2013_CODES[labels[rows]] == pixels.codes[rows]))
        if agreement < _LEAST_AGREEMENT:
            raise DataError(
                f"{source} does not belong to {pixel_file}: expected the votes to agree with the "
                f"labels of FER2013 in at least {_LEAST_AGREEMENT:.0%} of the rows of {split}. "
                f"Received: {agreement:.0%}. The rows of one file are in another order. {mend}."
            )
