"""Pictures in folders named after emotions, read strictly: `train/happy/1.png`, `happy/1.png`.

A stray, empty, nested or missing folder is refused by name. A loader that takes whatever folders it
finds would make `__MACOSX` class 0 and shift every label.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from fer_keras.common.decode import IMAGE_SUFFIXES, read_image
from fer_keras.common.errors import DataError
from fer_keras.common.files import is_litter
from fer_keras.common.labels import EMOTIONS, LABEL_ORDERS, canonical, class_name
from fer_keras.data.groups import cut_mask
from fer_keras.data.samples import SPLITS, Example, pixel_sha256
from fer_keras.runtime.stream.rows import FACE_COLUMNS, FRAME_COLUMNS, LOOK_COLUMNS, PATH_COLUMNS

_LOGGER = logging.getLogger(__name__)

# What the numbers mean by which folders are named, one class a line.
LABEL_FILE = "labels.txt"

CUT_SEED = 0  # of every split that is cut while reading: the same pictures give the same split

# Class -> its picture files, sorted by path.
Classes = Mapping[str, tuple[Path, ...]]
Labelled = list[tuple[Path, int]]

_SPLIT_NAMES: dict[str, str] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


def has_split_folders(root: Path) -> bool:
    """Whether a folder holds anything named after a split; False where there is no such folder."""
    return root.is_dir() and any(path.name.lower() in _SPLIT_NAMES for path in root.iterdir())


def list_files(root: Path) -> Iterator[Path]:
    """Every file below a folder in a fixed order, but what systems leave there."""
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not is_litter(name))
        yield from (Path(folder, name) for name in sorted(files) if not is_litter(name))


def write_label_order(root: Path, labels: str) -> None:
    """Writes down which class each number means, for folders that are named by numbers.

    Args:
        root: The folder with the class or split folders; gets the file `labels.txt`.
        labels: A name of `LABEL_ORDERS`, or the names in the order of the numbers, with commas.

    Raises:
        DataError: The names are no order, another one is there, or the file cannot be written.
    """
    names = LABEL_ORDERS.get(labels) or tuple(
        class_name(word) for word in labels.split(",") if word.strip()
    )
    if len(names) < 2 or len(set(names)) != len(names):
        raise DataError(
            f"--labels: expected {', '.join(LABEL_ORDERS)}, or at least two different names in the "
            f"order of the numbers, with commas between them. Received: {labels!r}"
        )
    path = root / LABEL_FILE
    try:
        if path.is_file() and tuple(path.read_text("utf-8").split("\n")[:-1]) != names:
            raise DataError(f"--labels: another order is there already. Delete it first: {path}")
        path.write_text("".join(f"{name}\n" for name in names), "utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"--labels: the order cannot be written ({error}). It is a file with one name a line: "
            f"{path}"
        ) from error


def read_label_order(root: Path) -> tuple[str, ...]:
    """The classes by number that `labels.txt` of a folder names; none where there is no file.

    Raises:
        DataError: It cannot be read, or is no list of different names.
    """
    path = root / LABEL_FILE
    if not path.is_file():
        return ()
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the names of the classes cannot be read ({error}): {path}") from error
    names = tuple(class_name(line) for line in lines if line.strip())
    faults = [f"{name!r}: {_own_name_fault(name)}" for name in names if _own_name_fault(name)]
    if len(names) < 2 or len(set(names)) != len(names) or faults:
        raise DataError(
            "expected at least two different names of classes, one a line, in the order of the "
            f"numbers. Received: {', '.join(faults or names) or 'none'}: {path}"
        )
    return names


def class_numbers(root: Path, names: Sequence[str], is_divided: bool) -> dict[str, str]:
    """The folder name of each class, where folders have the numbers from 0 or from 1.

    Args:
        root: The folder with the class or split folders.
        names: In the order of the numbers.
        is_divided: Whether it holds folders of splits.

    Raises:
        DataError: The folders are not so many numbers as names, from 0 or from 1.
    """
    parents = [path for path in root.iterdir() if path.is_dir()] if is_divided else [root]
    there = {path.name for parent in parents for path in parent.iterdir() if path.is_dir()}
    for first in (0, 1):
        numbers = [str(first + i) for i in range(len(names))]
        if there == set(numbers):
            return dict(zip(numbers, names, strict=True))
    raise DataError(
        f"{root / LABEL_FILE} names {len(names)} classes: expected the folders 0 to "
        f"{len(names) - 1}, or 1 to {len(names)}. Received: {', '.join(sorted(there)) or 'none'}. "
        f"Correct the file, or delete it where the folders have names: {root}"
    )


def list_folder(folder: Path, faults: list[str]) -> list[Path]:
    """What is in a folder, sorted, but what systems leave there; an unreadable one is a fault."""
    try:
        return sorted(folder / name for name in visible_names(folder))
    except OSError as error:
        faults.append(f"{folder}: cannot be read as a folder: {error.strerror}")
        return []


def visible_names(folder: Path) -> Iterator[str]:
    """The names in a folder, but what systems leave there, which is passed over with a note.

    Args:
        folder: The folder.

    Yields:
        Names, in the order in which the file system tells them.

    Raises:
        OSError: The folder cannot be read.
    """
    litter: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_litter(entry.name):
                litter.append(entry.name)
            else:
                yield entry.name
    if litter:
        # It cannot become a class. A Mac writes it again at each visit, so nobody can mend it.
        _LOGGER.warning("passed over: %s in %s", ", ".join(sorted(litter))[:200], folder)


def read_split_folders(
    root: Path,
    faults: list[str],
    *,
    class_names: Sequence[str] | None = None,
    splits: Sequence[str] = SPLITS,
    required: Sequence[str] = ("train",),
    own_names: bool = False,
    numbers: Mapping[str, str] | None = None,
) -> dict[str, Classes]:
    """Reads `ROOT/SPLIT/CLASS/PICTURE`.

    Args:
        root: The folder with the split folders, in any of their usual spellings.
        faults: Everything out of place is added, one line each, beginning with its path.
        class_names: The emotions every split must have; without it all that any split has.
        splits: The splits that may be there.
        required: The splits that must be there.
        own_names: As for `read_class_folders`.
        numbers: As for `read_class_folders`.

    Returns:
        Split -> class -> files, as far as they were found.
    """
    found: dict[str, Classes] = {}
    for path in list_folder(root, faults):
        if numbers and path.name == LABEL_FILE:
            continue
        split = _SPLIT_NAMES.get(path.name.lower(), "")
        if split not in splits or not path.is_dir():
            faults.append(f"{path}: expected only the folders {', '.join(splits)} here")
        elif split in found:
            faults.append(f"{path}: a second folder for the split {split}")
        else:
            found[split] = read_class_folders(
                path, faults, class_names, own_names=own_names, numbers=numbers
            )
    missing = [split for split in required if split not in found]
    faults += [f"{root / split}: missing" for split in missing]
    if class_names is None and not missing:
        every = {name for classes in found.values() for name in classes}
        for split, classes in found.items():
            faults += [
                f"{root / split}: no folder for {name}, which another split has"
                for name in in_order(every - set(classes))
            ]
    return found


def read_class_folders(
    folder: Path,
    faults: list[str],
    class_names: Sequence[str] | None = None,
    *,
    own_names: bool = False,
    numbers: Mapping[str, str] | None = None,
) -> dict[str, tuple[Path, ...]]:
    """Reads `FOLDER/CLASS/PICTURE`.

    Args:
        folder: The folder with the class folders, named after emotions in any known spelling.
        faults: Everything out of place is added, one line each, beginning with its path.
        class_names: The emotions that must be there, and no other; without it at least two.
        own_names: Takes any words as names of classes; a bare number is none.
        numbers: The class that each number means, where folders are named by numbers.

    Returns:
        Class -> files, as far as they were found.
    """
    known = class_names or EMOTIONS
    classes: dict[str, tuple[Path, ...]] = {}
    for path in list_folder(folder, faults):
        if numbers:
            if path.is_dir() and path.name in numbers:
                classes[numbers[path.name]] = tuple(read_pictures(path, faults))
            elif path.name != LABEL_FILE:
                faults.append(f"{path}: expected only the folders {', '.join(numbers)} here")
            continue
        if not path.is_dir():
            kind = "classes" if own_names else "emotions"
            faults.append(f"{path}: expected only folders named after {kind} here")
            continue
        fault = _own_name_fault(path.name) if own_names else _emotion_fault(path.name, known)
        if fault:
            faults.append(f"{path}: {fault}")
            continue
        name = class_name(path.name)
        if name not in known and not own_names:
            faults.append(f"{path}: not a class of this data set. Known: {', '.join(known)}")
        elif name in classes:
            faults.append(f"{path}: a second folder for {name}")
        else:
            classes[name] = tuple(read_pictures(path, faults))
    if class_names is None and len(classes) < 2:
        faults.append(f"{folder}: expected folders for at least two classes, found {len(classes)}")
    faults += [
        f"{folder}: no folder for {name}" for name in class_names or () if name not in classes
    ]
    return classes


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Classes in the order of the outputs: the emotions as everywhere, then others by the alphabet.

    Args:
        names: Standard names, in any order.
    """
    rank = {name: number for number, name in enumerate(EMOTIONS)}
    return tuple(sorted(names, key=lambda name: (rank.get(name, len(rank)), name)))


def _emotion_fault(name: str, known: Sequence[str]) -> str:
    """What is wrong with a name where only emotions are taken; empty where nothing is."""
    try:
        canonical(name)
    except DataError:
        return f"not an emotion. Known: {', '.join(known)}"
    return ""


def _own_name_fault(name: str) -> str:
    """What is wrong with a name of the user's own; empty where nothing is."""
    if not any(letter.isalpha() for letter in name):
        # Six orders of the emotions are in use: a number says nothing.
        return (
            "a number is no name of a class. Rename it to a word, or say what the numbers mean: "
            "python -m fer_keras.data prepare folder --source ROOT --labels affectnet8"
        )
    if not name.isprintable():
        return "characters that cannot be printed. Rename it to a word"
    if class_name(name) in _columns():
        return "a column of the results has this name. Rename it"
    return ""


def _columns() -> tuple[str, ...]:
    """The columns that stand beside those of the classes in the tables of predict and camera."""
    return (*PATH_COLUMNS, *FRAME_COLUMNS, *FACE_COLUMNS, *LOOK_COLUMNS)


def read_pictures(folder: Path, faults: list[str]) -> Iterator[Path]:
    """The pictures of one class, sorted; anything else, or nothing, is added to `faults`."""
    # A folder that cannot be read is one fault, not two.
    known_faults = len(faults)
    is_empty = True
    for path in list_folder(folder, faults):
        is_empty = False
        if path.is_dir():
            faults.append(f"{path}: a folder inside the folder of a class")
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            faults.append(f"{path}: not a picture. Known: {', '.join(IMAGE_SUFFIXES)}")
        else:
            yield path
    if is_empty and len(faults) == known_faults:
        faults.append(f"{folder}: empty")


def refuse(source: Path, faults: Sequence[str]) -> None:
    """Raises one error that lists every fault of a layout.

    Args:
        source: The root of the data set.
        faults: One line for each fault; without any, nothing happens.

    Raises:
        DataError: There are faults.
    """
    if faults:
        listed = "\n  ".join(faults)
        raise DataError(f"{source}: {len(faults)} faults in the folder layout:\n  {listed}")


def labelled(classes: Classes, class_names: Sequence[str]) -> Labelled:
    """All pictures with the index of their emotion among the class names, class by class."""
    return [(path, label) for label, name in enumerate(class_names) for path in classes[name]]


def examples(root: Path, pictures: Labelled) -> Iterator[Example]:
    """Pictures as examples; their source is the path below the root."""
    for path, label in pictures:
        yield Example(image=path, label=label, source=path.relative_to(root).as_posix())


def cut(root: Path, pictures: Labelled, fraction: float) -> tuple[Labelled, Labelled]:
    """Divides pictures by class, keeping those with equal pixels together.

    Args:
        root: Named in the error.
        pictures: What to divide.
        fraction: Share of the second part, above 0 and at most 0.5.

    Returns:
        The rest and the part that was cut; it depends on the pictures alone.

    Raises:
        DataError: There are not two different pictures to divide.
    """
    hashes = np.array([_pixel_group(path) for path, _ in pictures])
    _, groups = np.unique(hashes, return_inverse=True)
    try:
        chosen = cut_mask(np.array([label for _, label in pictures]), groups, fraction, CUT_SEED)
    except DataError as error:
        raise DataError(f"{root}: {error}") from error
    rest = [item for item, taken in zip(pictures, chosen, strict=True) if not taken]
    return rest, [item for item, taken in zip(pictures, chosen, strict=True) if taken]


def _pixel_group(path: Path) -> str:
    try:
        return pixel_sha256(read_image(path))
    except DataError:
        # Preparation decodes it once more, and lists it with all others that cannot be read.
        return str(path)
