"""AffectNet as the authors of ESR repacked it: faces cut out, with the annotation in the file name.

Source of the layout: Siqueira et al., "Efficient Facial Feature Learning with Wide Ensemble-based
Convolutional Neural Networks", AAAI 2020, and the code published with it. `Training_Labeled/0/
0000000s7s-653s653.jpg` is face 0 with expression code 7, valence -0.653 and arousal 0.653, joined
by the letter s. `0000000_7_-653_653.jpg`, as the description of the code has it, is the same. The
numbered folders are portions of at most 500 faces, not classes.

The published code that made such copies took the box of a face with rows and columns exchanged; a
copy made with it holds other parts of the pictures than `affectnet` does.
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import compress
from pathlib import Path

import numpy as np

from fer_keras.data.datasets import affectnet_files as files
from fer_keras.data.datasets.class_folders import list_folder
from fer_keras.data.samples import Example, SourceContent

FOLDERS = {"train": "Training_Labeled", "validation": "Validation"}
_IGNORED = "Training_Unlabeled"
# The program writes the letter s between the parts, its description has a line there.
_NAME = re.compile(r"\d{7,}([s_])(\d+)\1(-?\d+)\1(-?\d+)\.jpg")

INFO = replace(
    files.AFFECTNET,
    name="affectnet_esr",
    title="AffectNet in the folders of ESR, faces cut out, 8 classes",
    how_to_get=(
        "1. Get AffectNet (`python -m fer_keras.data describe affectnet`).\n"
        "2. python -m fer_keras.data prepare affectnet --layout esr --output "
        "DATA_FOLDER/affectnet_esr\n"
        "   (the tool of the repository siqueira-hc/Efficient-Facial-Feature-Learning-with-Wide-"
        "Ensemble-based-Convolutional-Neural-Networks makes the same folders, but takes rows and "
        "columns of the face box the wrong way round).\n"
        "3. Point FER_KERAS_DATA at the data folder:\n"
        "  affectnet_esr/Training_Labeled/0/0000000s7s-653s653.jpg\n"
        "  affectnet_esr/Validation/0/0000000s0s100s-20.jpg\n"
        "(number, expression code, 1000 x valence, 1000 x arousal; Training_Unlabeled is not read)"
    ),
)


def find(folder: Path) -> Path | None:
    """The folder itself, or `affectnet_esr` below it, where it has ESR's folders."""
    for root in (folder, folder / INFO.name):
        if any((root / name).is_dir() for name in FOLDERS.values()):
            return root
    return None


def source_files(source: Path) -> Iterator[Path]:
    """The numbered folders a prepared copy depends on; they change with the names in them."""
    for name in FOLDERS.values():
        folder = source / name
        yield from (folder / str(number) for number in _portions(folder, []))


def read(source: Path) -> SourceContent:
    """All faces with one of the 8 emotions.

    Args:
        source: The folder with `Training_Labeled` and `Validation`.

    Returns:
        Train and validation, in the order of the numbers; there is no public test set.

    Raises:
        DataError: A folder is missing, empty or stray, or a file name is not of this form.
    """
    faults: list[str] = []
    splits = {split: _Faces(source, name, faults) for split, name in FOLDERS.items()}
    known = {*FOLDERS.values(), _IGNORED}
    faults += [
        f"{path}: expected only the folders {', '.join(sorted(known))} here"
        for path in list_folder(source, faults)
        if path.name not in known
    ]
    files.refuse_faults(source, faults)
    content = files.make_content(splits, INFO.class_names)
    notes = content.notes
    if (source / _IGNORED).exists():
        notes = (*notes, f"{_IGNORED} not read: its labels come from a network, not from people")
    return SourceContent(content.class_names, content.splits, notes)


class _Faces:
    """The faces of one split; only their codes are kept."""

    def __init__(self, source: Path, name: str, faults: list[str]) -> None:
        self._name = name
        self._folder = source / name
        codes = array("b")
        for _, code, _ in self._names(faults):
            codes.append(code)
        self.codes = np.array(codes, np.int8)

    def examples(self, kept: np.ndarray, labels: Mapping[int, int]) -> Iterator[Example]:
        """The examples at which `kept` is True; see `affectnet_files.AnnotatedSplit`."""
        faces: Iterable[tuple[str, int, dict[str, float]]] = compress(self._names([]), kept)
        for path, code, attributes in faces:
            yield Example(
                image=self._folder / path,
                label=labels[code],
                source=f"{self._name}/{path}",
                attributes=attributes,
            )

    def _names(self, faults: list[str]) -> Iterator[tuple[str, int, dict[str, float]]]:
        """Path below the folder, expression code, valence and arousal of every face."""
        for number in _portions(self._folder, faults):
            names = [path.name for path in list_folder(self._folder / str(number), faults)]
            if not names:
                faults.append(f"{self._folder / str(number)}: empty")
            for name in names:
                path = f"{number}/{name}"
                try:
                    yield path, *_parse(name)
                except ValueError as error:
                    faults.append(f"{self._folder / path}: {error}")


def _portions(folder: Path, faults: list[str]) -> list[int]:
    """Numbers of the folders below one, as numbers: as text, 10 would stand before 2."""
    if not folder.is_dir():
        faults.append(f"{folder}: missing")
        return []
    numbers = []
    for path in list_folder(folder, faults):
        if path.is_dir() and re.fullmatch(r"0|[1-9]\d*", path.name):
            numbers.append(int(path.name))
        else:
            faults.append(f"{path}: expected only folders 0, 1, 2, ... here")
    if not numbers:
        faults.append(f"{folder}: empty")
    return sorted(numbers)


def _parse(name: str) -> tuple[int, dict[str, float]]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError("expected a name like 0000000s7s-653s653.jpg or 0000000_7_-653_653.jpg")
    code = int(match[2])
    if code not in files.CODES and code not in files.OTHER_CODES:
        raise ValueError(f"unknown expression code {code}, expected 0..10")
    valence, arousal = (files.rating(str(int(text) / 1000)) for text in match.group(3, 4))
    return code, {"valence": valence, "arousal": arousal}
