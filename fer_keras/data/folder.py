"""Your own pictures in folders named after emotions: `ROOT/train/happy/1.png`, `ROOT/happy/1.png`.

The layout is read strictly: a stray, empty, nested or missing folder is refused by name. A loader
that takes whatever folders it finds would make `__MACOSX` class 0 and shift every label.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from fer_keras.data.samples import SPLITS, DatasetInfo, Example, SourceContent, pixel_sha256
from fer_keras.data.splits import cut_mask
from fer_keras.decode import IMAGE_SUFFIXES, read_image
from fer_keras.errors import DataError
from fer_keras.labels import EMOTIONS, canonical

_SPLIT_NAMES: dict[str, str] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_SHARE = 0.1  # of the images that becomes a split that is not there
_SEED = 0

INFO = DatasetInfo(
    name="folder",
    title="Your own pictures in folders named after emotions",
    class_names=EMOTIONS,
    codes={},
    official_counts={},
    splits=SPLITS,
    licence="Yours to know.",
    citation="",
    how_to_get=(
        "Put the pictures (JPEG, PNG, BMP, WebP) in folders named after emotions, and name the "
        "root as source:\n"
        "  ROOT/train/happy/1.png  ROOT/validation/happy/2.png  ROOT/test/happy/3.png\n"
        "or undivided, ROOT/happy/1.png. Every split needs the same emotions; a missing validation "
        "split is cut from train."
    ),
    needs_path=True,
    channels=3,
)

# Emotion -> its picture files, sorted by path.
_Classes = Mapping[str, tuple[Path, ...]]


def find(folder: Path) -> Path | None:
    """The folder itself."""
    return folder


def source_files(source: Path) -> Iterator[Path]:
    """Every file below the root, in a fixed order."""
    for folder, names, files in os.walk(source):
        names.sort()
        yield from (Path(folder, name) for name in sorted(files))


def read(source: Path) -> SourceContent:
    """All pictures below a root folder.

    Args:
        source: The root.

    Returns:
        The splits on the disk; where there is no validation split, a tenth of train is cut for it,
        and an undivided root gives a tenth each to validation and test. The cut depends on the
        pictures alone, and copies of a picture stay on one side.

    Raises:
        DataError: The layout is not as it should be; lists every fault by path.
    """
    faults: list[str] = []
    found = _read_layout(source, faults)
    if faults:
        listed = "\n  ".join(faults)
        raise DataError(f"{source}: {len(faults)} faults in the folder layout:\n  {listed}")
    class_names = tuple(name for name in EMOTIONS if name in found["train"])
    labelled = {split: _labelled(classes, class_names) for split, classes in found.items()}
    notes: list[str] = []
    if list(found) == ["train"] and _is_undivided(source):
        labelled["train"], labelled["test"] = _cut(source, labelled["train"], _SHARE)
        notes.append(f"test: {_SHARE:.0%} of the pictures, cut with seed {_SEED}")
    if "validation" not in labelled:
        # A tenth of all, also where a tenth has gone to test already.
        share = _SHARE / (1 - _SHARE) if notes else _SHARE
        labelled["train"], labelled["validation"] = _cut(source, labelled["train"], share)
        notes.append(f"validation: {share:.0%} of train, cut with seed {_SEED}")
    if "test" not in labelled:
        notes.append("no test folder")
    splits: dict[str, Iterable[Example]] = {
        split: _examples(source, labelled[split]) for split in SPLITS if split in labelled
    }
    return SourceContent(class_names, splits, tuple(notes))


def _examples(root: Path, labelled: list[tuple[Path, int]]) -> Iterator[Example]:
    for path, label in labelled:
        yield Example(image=path, label=label, source=path.relative_to(root).as_posix())


def _labelled(classes: _Classes, class_names: tuple[str, ...]) -> list[tuple[Path, int]]:
    return [(path, label) for label, name in enumerate(class_names) for path in classes[name]]


def _is_undivided(root: Path) -> bool:
    return not any(path.name.lower() in _SPLIT_NAMES for path in root.iterdir())


def _read_layout(root: Path, faults: list[str]) -> dict[str, _Classes]:
    """Split -> emotion -> files; everything out of place is added to `faults`."""
    if _is_undivided(root):
        return {"train": _read_classes(root, faults)}
    found: dict[str, _Classes] = {}
    for path in sorted(root.iterdir()):
        split = _SPLIT_NAMES.get(path.name.lower())
        if split is None or not path.is_dir():
            faults.append(f"{path}: expected only the folders {', '.join(SPLITS)} here")
        elif split in found:
            faults.append(f"{path}: a second folder for the split {split}")
        else:
            found[split] = _read_classes(path, faults)
    if "train" not in found:
        faults.append(f"{root / 'train'}: missing")
        return found
    every = {name for classes in found.values() for name in classes}
    for split, classes in found.items():
        faults += [
            f"{root / split}: no folder for {name}, which another split has"
            for name in EMOTIONS
            if name in every - set(classes)
        ]
    return found


def _read_classes(folder: Path, faults: list[str]) -> _Classes:
    classes: dict[str, tuple[Path, ...]] = {}
    for path in sorted(folder.iterdir()):
        if not path.is_dir():
            faults.append(f"{path}: expected only folders named after emotions here")
            continue
        try:
            name = canonical(path.name)
        except DataError:
            faults.append(f"{path}: not an emotion. Known: {', '.join(EMOTIONS)}")
            continue
        if name in classes:
            faults.append(f"{path}: a second folder for {name}")
            continue
        classes[name] = tuple(_read_pictures(path, faults))
    if len(classes) < 2:
        faults.append(f"{folder}: expected folders for at least two emotions, found {len(classes)}")
    return classes


def _read_pictures(folder: Path, faults: list[str]) -> Iterator[Path]:
    is_empty = True
    for path in sorted(folder.iterdir()):
        is_empty = False
        if path.is_dir():
            faults.append(f"{path}: a folder inside the folder of an emotion")
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            faults.append(f"{path}: not a picture. Known: {', '.join(IMAGE_SUFFIXES)}")
        else:
            yield path
    if is_empty:
        faults.append(f"{folder}: empty")


def _cut(
    root: Path, labelled: list[tuple[Path, int]], fraction: float
) -> tuple[list[tuple[Path, int]], list[tuple[Path, int]]]:
    """Divides the pictures by class, keeping those with equal pixels together."""
    hashes = np.array([_pixel_group(path) for path, _ in labelled])
    _, groups = np.unique(hashes, return_inverse=True)
    try:
        chosen = cut_mask(np.array([label for _, label in labelled]), groups, fraction, _SEED)
    except DataError as error:
        raise DataError(f"{root}: {error}") from error
    rest = [item for item, taken in zip(labelled, chosen, strict=True) if not taken]
    return rest, [item for item, taken in zip(labelled, chosen, strict=True) if taken]


def _pixel_group(path: Path) -> str:
    try:
        return pixel_sha256(read_image(path))
    except DataError:
        # Preparation decodes it once more, and lists it with all others that cannot be read.
        return str(path)
