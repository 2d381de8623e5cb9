"""Your own pictures in folders named after classes: `ROOT/train/happy/1.png`, `ROOT/drowsy/1.png`.

The names are emotions in any known spelling, words of your own, or numbers whose names stand in
`ROOT/labels.txt`, one a line.

The layout is read strictly (see `class_folders`): a wrong one is refused with every fault by path.
"""

from collections.abc import Iterable
from pathlib import Path

from fer_keras.common.labels import EMOTIONS
from fer_keras.data.datasets.class_folders import (
    CUT_SEED,
    LABEL_FILE,
    Classes,
    class_numbers,
    cut,
    examples,
    has_split_folders,
    in_order,
    labelled,
    list_files,
    read_class_folders,
    read_label_order,
    read_split_folders,
    refuse,
)
from fer_keras.data.samples import SPLITS, DatasetInfo, Example, SourceContent

_SHARE = 0.1  # of the images that becomes a split that is not there

INFO = DatasetInfo(
    name="folder",
    title="Your own pictures in folders named after classes",
    class_names=EMOTIONS,
    codes={},
    official_counts={},
    splits=SPLITS,
    licence="Yours to know.",
    citation="",
    how_to_get=(
        "Put the pictures (JPEG, PNG, BMP, WebP, AVIF, HEIC) in folders named after emotions or "
        "classes of your own, and name the root as source:\n"
        "  ROOT/train/happy/1.png  ROOT/validation/happy/2.png  ROOT/test/happy/3.png\n"
        "or undivided, ROOT/happy/1.png. Every split needs the same classes; a missing validation "
        "split is cut from train. For folders 0, 1, 2, ... say what the numbers mean:\n"
        "  python -m fer_keras.data prepare folder --source ROOT --labels affectnet8"
    ),
    needs_path=True,
    channels=3,
)


def find(folder: Path) -> Path | None:
    """The folder itself, or the pictures in what `data crop` has written."""
    pictures = folder / "pictures"
    try:
        is_cropped = (folder / "crops.csv").is_file() and pictures.is_dir()
    except PermissionError:  # Whoever reads the folder says it, with the path.
        is_cropped = False
    return pictures if is_cropped else folder


def source_files(source: Path) -> Iterable[Path]:
    """Every file below the root, in a fixed order."""
    return list_files(source)


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
    is_divided = has_split_folders(source)
    order = read_label_order(source)
    numbers = class_numbers(source, order, is_divided) if order else None
    found: dict[str, Classes] = (
        read_split_folders(source, faults, own_names=True, numbers=numbers)
        if is_divided
        else {"train": read_class_folders(source, faults, own_names=True, numbers=numbers)}
    )
    refuse(source, faults)
    class_names = in_order(found["train"])
    pictures = {split: labelled(classes, class_names) for split, classes in found.items()}
    notes: list[str] = []
    if numbers:
        listed = ", ".join(f"{number} {name}" for number, name in numbers.items())
        notes.append(f"folders by number, names of {LABEL_FILE}: {listed}")
    own = [name for name in class_names if name not in EMOTIONS]
    if own:
        notes.append(
            f"not emotions, but classes of your own: {', '.join(own)}; data sets of emotions "
            "cannot be joined with them"
        )
    if not is_divided:
        pictures["train"], pictures["test"] = cut(source, pictures["train"], _SHARE)
        notes.append(f"test: {_SHARE:.0%} of the pictures, cut with seed {CUT_SEED}")
    if "validation" not in pictures:
        # A tenth of all, also where a tenth has gone to test already.
        share = _SHARE if is_divided else _SHARE / (1 - _SHARE)
        pictures["train"], pictures["validation"] = cut(source, pictures["train"], share)
        notes.append(f"validation: {share:.0%} of train, cut with seed {CUT_SEED}")
    if "test" not in pictures:
        notes.append("no test folder")
    splits: dict[str, Iterable[Example]] = {
        split: examples(source, pictures[split]) for split in SPLITS if split in pictures
    }
    return SourceContent(class_names, splits, tuple(notes))
