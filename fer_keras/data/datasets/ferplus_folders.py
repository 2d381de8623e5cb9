"""FER+ as the picture folders that its trainer and ESR read, with a `label.csv` in each.

Source: the repository microsoft/FERPlus writes `FER2013Train`, `FER2013Valid` and `FER2013Test`;
ESR (Siqueira et al., AAAI 2020) keeps the same in two trees, `Images` and `Labels`. A row of
`label.csv` is the name of a picture, the box of the face and the ten counts of votes.

Its votes are not those of `fer2013new.csv`, which `ferplus` reads: they differ in 1,602 pictures.
By the majority rule 25,045, 3,191 and 3,137 pictures are left, there 25,060, 3,199 and 3,153.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from fer_keras.common.labels import EMOTIONS
from fer_keras.data.datasets.class_folders import list_files, list_folder, refuse
from fer_keras.data.datasets.pixel_csv import open_text
from fer_keras.data.samples import DatasetInfo, Example, SourceContent
from fer_keras.data.votes import VOTE_COLUMNS, targets_from_votes

_FOLDERS = {"train": "FER2013Train", "validation": "FER2013Valid", "test": "FER2013Test"}
_LABELS = "label.csv"
_TREES = ("Images", "Labels")
_BOX = re.compile(r"\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\)")
_WHOLE = (0, 0, 48, 48)
_NUM_COLUMNS = 2 + len(VOTE_COLUMNS)

_Row = tuple[str, tuple[int, int, int, int], list[int]]

INFO = DatasetInfo(
    name="ferplus_folders",
    title="FER+ as folders with label.csv, other votes than fer2013new.csv, in 8 emotions",
    class_names=EMOTIONS,
    codes=dict(enumerate(EMOTIONS)),
    official_counts={},
    splits=tuple(_FOLDERS),
    licence=(
        "Votes: MIT (Microsoft). Images: those of FER2013, no redistribution licence is known; "
        "for research, neither the pixels nor pictures of them may be passed on."
    ),
    citation=(
        "Barsoum et al., Training Deep Networks for Facial Expression Recognition with "
        "Crowd-Sourced Label Distribution, ICMI 2016"
    ),
    how_to_get=(
        "1. Clone the GitHub repository microsoft/FERPlus, whose folder data has the label files, "
        "and write the pictures with its script generate_training_data.py.\n"
        "2. Put the three folders into the folder ferplus_folders of your data folder:\n"
        "  ferplus_folders/FER2013Train/label.csv  ferplus_folders/FER2013Train/fer0000000.png\n"
        "and FER2013Valid, FER2013Test; or, as ESR has them, with the pictures in Images/ and the "
        "label files in Labels/.\n"
        "3. Point FER_KERAS_DATA at the data folder."
    ),
    has_votes=True,
)


def find(folder: Path) -> Path | None:
    """The folder with the three, or with ESR's two trees, itself or below a data folder."""
    places = (folder, folder / INFO.name, folder / "FER_2013" / "Dataset")
    return next((place for place in places if _label_file(place, "FER2013Train").is_file()), None)


def source_files(source: Path) -> Iterable[Path]:
    """Every file below the root, in a fixed order."""
    return list_files(source)


def read(source: Path) -> SourceContent:
    """All pictures that the label files name.

    Args:
        source: The folder that holds the three, or `Images` and `Labels`.

    Returns:
        Train, validation and test, and a note about the votes.

    Raises:
        DataError: A folder, picture or row is missing, stray or wrong; lists every fault.
    """
    faults: list[str] = []
    rows = {split: _rows(source, name, faults) for split, name in _FOLDERS.items()}
    refuse(source, faults)
    return SourceContent(
        INFO.class_names,
        {split: _examples(source, _FOLDERS[split], found) for split, found in rows.items()},
        ("votes of label.csv, which differ from those of fer2013new.csv in 1,602 pictures",),
    )


def _picture_folder(source: Path, name: str) -> Path:
    return (source / _TREES[0] if (source / _TREES[0]).is_dir() else source) / name


def _label_file(source: Path, name: str) -> Path:
    return (source / _TREES[1] if (source / _TREES[1]).is_dir() else source) / name / _LABELS


def _rows(source: Path, name: str, faults: list[str]) -> list[_Row]:
    """The rows of one label file; a picture without a row, or a row without one, is a fault."""
    path, folder = _label_file(source, name), _picture_folder(source, name)
    if not path.is_file() or not folder.is_dir():
        faults.append(f"{path if folder.is_dir() else folder}: missing")
        return []
    unread = {each.name for each in list_folder(folder, faults)} - {_LABELS}
    rows: list[_Row] = []
    with open_text(path) as lines:
        for number, cells in enumerate(csv.reader(lines), start=1):
            try:
                row = _parse(cells)
            except ValueError as error:
                faults.append(f"{path}, row {number}: {error}")
                continue
            if row[0] not in unread:
                faults.append(f"{path}, row {number}: no picture {folder / row[0]}, or named twice")
            unread.discard(row[0])
            rows.append(row)
    faults += [f"{folder / stray}: {path} has no row for it" for stray in sorted(unread)]
    if not rows:
        faults.append(f"{path}: no rows")
    return rows


def _parse(cells: list[str]) -> _Row:
    if len(cells) != _NUM_COLUMNS:
        raise ValueError(f"expected a name, a box and ten counts of votes, received {len(cells)}")
    name, box, *votes = (cell.strip() for cell in cells)
    match = _BOX.fullmatch(box)
    if match is None or not re.fullmatch(r"[\w-]+\.png", name):
        raise ValueError(f'expected NAME.png and "(0, 0, 48, 48)", received {name!r} and {box!r}')
    if not all(vote.isascii() and vote.isdigit() for vote in votes):
        raise ValueError(f"expected counts of 0 or more, received {', '.join(votes)[:80]}")
    left, top, right, bottom = (int(side) for side in match.groups())
    if right <= left or bottom <= top:
        raise ValueError(f"expected a box (left, top, right, bottom), received {box}")
    return name, (left, top, right, bottom), [int(vote) for vote in votes]


def _examples(source: Path, name: str, rows: list[_Row]) -> Iterator[Example]:
    votes = np.array([row[2] for row in rows], np.int64)
    labels = np.full(len(rows), -1, np.int64)
    targets, kept = targets_from_votes(votes, "majority")
    labels[kept] = np.argmax(targets, axis=1)
    folder = _picture_folder(source, name)
    for row, (picture, box, _) in enumerate(rows):
        left, top, right, bottom = box
        yield Example(
            image=folder / picture,
            label=int(labels[row]),
            source=f"{name}/{picture}",
            votes=votes[row],
            crop=None if box == _WHOLE else (left, top, right - left, bottom - top),
        )
