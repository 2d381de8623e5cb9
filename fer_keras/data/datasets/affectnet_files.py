"""The two releases of AffectNet, read for every data set that is cut from them.

Source: Mollahosseini et al., "AffectNet: A Database for Facial Expression, Valence, and Arousal
Computing in the Wild", IEEE Transactions on Affective Computing, 2019. The older release has lists
(`training.csv`, `validation.csv`) of whole pictures with a box around the face; the newer one has
faces cut out (`train_set/images/N.jpg`) with one small array file for each annotation.

Counts: the training counts are those of the paper; validation has 500 faces of each class, of which
the public copies usually lack one. There is no public test set.

There are half a million files, so no list of paths is kept: of every annotation only its code stays
in memory, and the rest is read again when the examples are.
"""

import csv
import math
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Protocol

import numpy as np

from fer_keras.common.errors import DataError
from fer_keras.common.files import is_litter
from fer_keras.data.datasets.class_folders import visible_names
from fer_keras.data.datasets.pixel_csv import columns_by_name, open_text
from fer_keras.data.samples import DatasetInfo, Example, SourceContent

CLASS_NAMES = (
    "neutral",
    "happiness",
    "sadness",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
)
CODES: Mapping[int, str] = dict(enumerate(CLASS_NAMES))
# Annotations that are no emotion; such faces are left out.
OTHER_CODES: Mapping[int, str] = {8: "none", 9: "uncertain", 10: "no face"}
NO_TEST_NOTE = "no public test set: what is reported as AffectNet's score is on validation"
# All of it; the data sets that are cut from it state what differs.
AFFECTNET = DatasetInfo(
    name="affectnet",
    title="AffectNet, 291,651 faces from the web in 8 classes",
    class_names=CLASS_NAMES,
    codes=dict(enumerate(CLASS_NAMES)),
    official_counts={
        "train": dict(
            zip(CLASS_NAMES, (74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750), strict=True)
        ),
        "validation": dict.fromkeys(CLASS_NAMES, 500),
    },
    splits=("train", "validation"),
    licence=(
        "For research only, under an agreement that the head of a laboratory signs; neither the "
        "pictures nor the annotations may be passed on."
    ),
    citation=(
        "Mollahosseini et al., AffectNet: A Database for Facial Expression, Valence, and Arousal "
        "Computing in the Wild, IEEE Transactions on Affective Computing, 2019"
    ),
    how_to_get=(
        "1. Ask for AffectNet at mohammadmahoor.com/affectnet and have the agreement signed.\n"
        "2. Unpack either release into the folder affectnet of your data folder:\n"
        "  affectnet/training.csv, affectnet/validation.csv (both may be in the folder "
        "Manually_Annotated_file_lists) and affectnet/Manually_Annotated_Images/689/NAME.jpg\n"
        "or\n"
        "  affectnet/train_set/images/0.jpg, affectnet/train_set/annotations/0_exp.npy, 0_val.npy, "
        "0_aro.npy, 0_lnd.npy, and the same in affectnet/val_set.\n"
        "3. Point FER_KERAS_DATA at the data folder. Where preparation names a picture that cannot "
        "be read, mend it or delete its row from the list."
    ),
    channels=3,
    attributes={"valence": "float32", "arousal": "float32"},
)

_COLUMNS = (
    "subdirectory_filepath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
_LISTS = {"train": "training.csv", "validation": "validation.csv"}
_LIST_FOLDERS = (".", "Manually_Annotated_file_lists")
_PICTURE_FOLDERS = (
    "Manually_Annotated_Images",
    "Manually_Annotated/Manually_Annotated_Images",
    ".",
)
_SET_FOLDERS = {"train": "train_set", "validation": "val_set"}
_PICTURE_NAME = re.compile(r"(0|[1-9]\d*)()\.jpg")
_ARRAY_NAME = re.compile(r"(0|[1-9]\d*)_(exp|val|aro|lnd)\.npy")
_NEEDED_ARRAYS = ("exp", "val", "aro")

_NO_BOX = -1  # stands for the code of an emotion whose row has no box
_INVALID_RATING = -2.0
_ROUNDING = 1e-6
_SHOWN_FAULTS = 50
_NONE = np.zeros(0, np.int64)

_Box = tuple[int, int, int, int]


class AnnotatedSplit(Protocol):
    """One split of a release.

    Attributes:
        codes: `(n,)` int8 expression codes 0..10 in file order, -1 for a face without a box.
    """

    codes: np.ndarray

    def examples(self, kept: np.ndarray, labels: Mapping[int, int]) -> Iterator[Example]:
        """The examples at which `kept` `(n,)` is True; `labels` maps their codes to labels."""


@dataclass(frozen=True)
class _Row:
    picture: str
    code: int
    box: _Box | None
    attributes: Mapping[str, float]


def find_release(folder: Path) -> Path | None:
    """The root of a release: the folder itself or `affectnet` below it; None without any."""
    for root in (folder, folder / "affectnet"):
        if _has_lists(root) or _has_sets(root):
            return root
    return None


def release_files(source: Path) -> Iterator[Path]:
    """What a prepared copy depends on: the lists, and the folders of pictures and annotations.

    A folder changes when a file in it is added, removed or renamed. The files themselves are not
    named: to look at half a million of them would take minutes at the start of every run.
    """
    for name in _LISTS.values():
        yield from (path for path in (source / at / name for at in _LIST_FOLDERS) if path.exists())
    for set_folder in _SET_FOLDERS.values():
        below = (source / set_folder / part for part in ("images", "annotations"))
        yield from (path for path in below if path.exists())
    if _has_lists(source):
        pictures = _picture_folder(source)
        yield from (pictures / name for name in sorted(_folder_names(pictures)))


def read_release(source: Path, class_names: Sequence[str]) -> SourceContent:
    """All faces of some of the emotions.

    Args:
        source: As found by `find_release`.
        class_names: The emotions to keep, in the order of the labels.

    Returns:
        Splits train and validation; notes say what was left out.

    Raises:
        DataError: As `open_release`.
    """
    return make_content(open_release(source), class_names)


def open_release(source: Path) -> dict[str, AnnotatedSplit]:
    """Reads and checks every annotation's code, and that its files are there.

    Args:
        source: As found by `find_release`.

    Returns:
        The splits train and validation.

    Raises:
        DataError: A list, folder, picture or annotation is missing, or a code, box, valence or
            arousal is not as it should be; lists the faults by path and row.
    """
    if _has_lists(source) == _has_sets(source):
        raise DataError(
            f"{source}: expected either {' and '.join(_LISTS.values())} or the folders "
            f"{' and '.join(_SET_FOLDERS.values())}. Received: "
            f"{'both releases' if _has_sets(source) else 'neither'}."
        )
    faults: list[str] = []
    splits: dict[str, AnnotatedSplit] = {}
    if _has_sets(source):
        for split, name in _SET_FOLDERS.items():
            splits[split] = _SetSplit(source, name, faults)
    else:
        pictures = _picture_folder(source)
        unread = _picture_names(pictures)
        # The small list first: a picture of both is then reported in the large one.
        for split, name in reversed(_LISTS.items()):
            splits[split] = _ListSplit(_list_file(source, name), pictures, unread, faults)
    refuse_faults(source, faults)
    return {split: splits[split] for split in _LISTS}


def make_content(
    splits: Mapping[str, AnnotatedSplit],
    class_names: Sequence[str],
    chosen: Mapping[str, np.ndarray] | None = None,
) -> SourceContent:
    """Turns the annotations of some emotions into examples.

    Args:
        splits: As returned by `open_release`.
        class_names: The emotions to keep, in the order of the labels; codes are mapped by name.
        chosen: Split -> `(n,)` bool, the only annotations to keep; all without it.

    Returns:
        The splits, with a note for every kind of annotation that was left out.
    """
    labels = {code: class_names.index(name) for code, name in CODES.items() if name in class_names}
    notes = [NO_TEST_NOTE]
    contents: dict[str, Iterable[Example]] = {}
    for split, annotated in splits.items():
        kept = np.isin(annotated.codes, list(labels))
        notes += left_out_notes(split, annotated.codes[~kept])
        if chosen is not None and split in chosen:
            kept &= chosen[split]
        contents[split] = annotated.examples(kept, labels)
    return SourceContent(tuple(class_names), contents, tuple(notes))


def left_out_notes(split: str, codes: np.ndarray) -> list[str]:
    """Says how many faces of a split were left out, and with which annotation.

    Args:
        split: Named in the note.
        codes: `(n,)` codes of the faces that were left out.
    """
    names = {**CODES, **OTHER_CODES, _NO_BOX: "without a face box"}
    found, counts = np.unique(codes, return_counts=True)
    listed = ", ".join(
        f"{count} {names[int(code)]}" for code, count in zip(found, counts, strict=True)
    )
    return [f"{split}: left out {listed}"] if listed else []


def refuse_faults(source: Path, faults: Sequence[str]) -> None:
    """Raises one error with the first faults and the number of all.

    Args:
        source: The root of the release.
        faults: One line for each; a copy that is not unpacked to the end has very many. Without
            any, nothing happens.

    Raises:
        DataError: There are faults.
    """
    if faults:
        more = len(faults) - _SHOWN_FAULTS
        shown = [*faults[:_SHOWN_FAULTS], *([f"and {more} more"] if more > 0 else [])]
        listed = "\n  ".join(shown)
        raise DataError(f"{source}: {len(faults)} faults; nothing was read:\n  {listed}")


def rating(text: str) -> float:
    """A valence or arousal.

    Args:
        text: A number from -1 to 1, or -2, which the annotators' tool wrote where there is none.

    Returns:
        The number; nan for -2.

    Raises:
        ValueError: It is anything else.
    """
    value = float(text)
    if value == _INVALID_RATING:
        return math.nan
    if not abs(value) <= 1.0 + _ROUNDING:
        raise ValueError(f"expected -1..1, or -2 for none, received {text[:40]!r}")
    return value


class _ListSplit:
    """One list of the older release."""

    def __init__(self, path: Path, pictures: Path, unread: set[str], faults: list[str]) -> None:
        """Checks the list; its pictures are taken out of `unread`."""
        self._path = path
        self._pictures = pictures
        codes = array("b")
        for number, row in self._rows(faults):
            codes.append(row.code)
            if row.code not in CODES:
                continue
            if row.picture in unread:
                unread.remove(row.picture)
            elif (pictures / row.picture).is_file():
                faults.append(
                    f"{path}, row {number}: expected FOLDER/NAME that no earlier row has. "
                    f"Received: {row.picture}"
                )
            else:
                faults.append(f"{path}, row {number}: no picture {pictures / row.picture}")
        self.codes = np.array(codes, np.int8)

    def examples(self, kept: np.ndarray, labels: Mapping[int, int]) -> Iterator[Example]:
        for _, row in compress(self._rows([]), kept):
            yield Example(
                image=self._pictures / row.picture,
                label=labels[row.code],
                source=row.picture,
                attributes=row.attributes,
                crop=row.box,
            )

    def _rows(self, faults: list[str]) -> Iterator[tuple[int, _Row]]:
        """The good rows, numbered from 1 after the header."""
        with open_text(self._path) as lines:
            reader = csv.reader(lines)
            columns = columns_by_name(self._path, next(reader, []), _COLUMNS)
            number = 0
            try:
                for number, cells in enumerate(reader, start=1):
                    try:
                        yield number, _parse_row(cells, columns)
                    except ValueError as error:
                        faults.append(f"{self._path}, row {number}: {error}")
            except csv.Error as error:
                faults.append(f"{self._path}, row {number + 1}: not a csv row: {error}")
        if not number:
            faults.append(f"{self._path}: no rows after the header")


class _SetSplit:
    """One folder of the newer release."""

    def __init__(self, source: Path, name: str, faults: list[str]) -> None:
        self._name = name
        self._folder = source / name
        self._numbers = self._check_files(faults)
        codes = array("b")
        for number in self._numbers:
            path = self._array_file(number, "exp")
            try:
                codes.append(_code(_scalar(path)))
            except ValueError as error:
                faults.append(f"{path}: {error}")
        self.codes = np.array(codes, np.int8)

    def examples(self, kept: np.ndarray, labels: Mapping[int, int]) -> Iterator[Example]:
        for number, code in zip(self._numbers[kept], self.codes[kept], strict=True):
            attributes = {}
            for attribute, kind in (("valence", "val"), ("arousal", "aro")):
                path = self._array_file(number, kind)
                try:
                    attributes[attribute] = rating(_scalar(path))
                except ValueError as error:
                    raise DataError(f"{path}: {error}.") from error
            yield Example(
                image=self._folder / "images" / f"{number}.jpg",
                label=labels[int(code)],
                source=f"{self._name}/images/{number}.jpg",
                attributes=attributes,
            )

    def _array_file(self, number: int, kind: str) -> Path:
        return self._folder / "annotations" / f"{number}_{kind}.npy"

    def _check_files(self, faults: list[str]) -> np.ndarray:
        """`(n,)` int64 numbers of the pictures, rising; those without annotations are faults."""
        pictures = _numbers(self._folder / "images", _PICTURE_NAME, faults).get("", _NONE)
        arrays = _numbers(self._folder / "annotations", _ARRAY_NAME, faults)
        whole = pictures
        for kind in _NEEDED_ARRAYS:
            found = arrays.get(kind, _NONE)
            for number in np.setdiff1d(pictures, found):
                faults.append(f"{self._array_file(number, kind)}: missing")
            for number in np.setdiff1d(found, pictures):
                faults.append(f"{self._array_file(number, kind)}: no picture images/{number}.jpg")
            whole = np.intersect1d(whole, found)
        return whole


def _numbers(folder: Path, pattern: re.Pattern[str], faults: list[str]) -> dict[str, np.ndarray]:
    """Kind -> rising numbers of the files of a folder whose names are (number, kind)."""
    found: dict[str, list[int]] = {}
    if not folder.is_dir():
        faults.append(f"{folder}: missing")
        return {}
    for name in visible_names(folder):
        match = pattern.fullmatch(name)
        if match is None:
            faults.append(f"{folder / name}: expected only files of the release here")
        else:
            found.setdefault(match[2], []).append(int(match[1]))
    if not found:
        faults.append(f"{folder}: empty")
    return {kind: np.sort(np.array(numbers, np.int64)) for kind, numbers in found.items()}


def _scalar(path: Path) -> str:
    """The one value of an array file, as text: the release holds some of them as strings."""
    try:
        with path.open("rb") as stream:
            values = np.lib.format.read_array(stream, allow_pickle=False)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    if values.size != 1:
        raise ValueError(f"expected one value, received an array {values.shape}")
    return str(values.reshape(-1)[0])


def _parse_row(cells: list[str], columns: tuple[int, ...]) -> _Row:
    if len(cells) != len(columns):
        raise ValueError(f"expected {len(columns)} columns, received {len(cells)}")
    picture, left, top, width, height, _, expression, valence, arousal = (
        cells[column].strip() for column in columns
    )
    code = _code(expression)
    if code not in CODES:
        return _Row(picture, code, None, {})
    attributes = {"valence": rating(valence), "arousal": rating(arousal)}
    sides = (left, top, width, height)
    # The official training list has such a row among the labelled ones.
    if "NULL" in sides:
        return _Row(picture, _NO_BOX, None, attributes)
    return _Row(picture, code, (int(left), int(top), int(width), int(height)), attributes)


def _code(text: str) -> int:
    value = float(text)
    if value not in CODES and value not in OTHER_CODES:
        raise ValueError(f"unknown expression code {text[:40]!r}, expected 0..10")
    return int(value)


def _has_lists(root: Path) -> bool:
    return any((root / at / name).is_file() for at in _LIST_FOLDERS for name in _LISTS.values())


def _has_sets(root: Path) -> bool:
    return any((root / name).is_dir() for name in _SET_FOLDERS.values())


def _list_file(source: Path, name: str) -> Path:
    for at in _LIST_FOLDERS:
        if (source / at / name).is_file():
            return source / at / name
    raise DataError(
        f"{source / name}: missing. Both lists are needed: {', '.join(_LISTS.values())}."
    )


def _picture_folder(source: Path) -> Path:
    return next(folder for at in _PICTURE_FOLDERS if (folder := source / at).is_dir())


def _picture_names(folder: Path) -> set[str]:
    """`SUBFOLDER/NAME` of every file two levels below a folder; asks the disk for no file alone."""
    return {
        f"{subfolder}/{name}"
        for subfolder in _folder_names(folder)
        for name in visible_names(folder / subfolder)
    }


def _folder_names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_dir() and not is_litter(entry.name)]
