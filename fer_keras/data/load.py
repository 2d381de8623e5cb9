"""Data sets by name: describe, find, prepare, load."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer_keras.common.decode import Enlarge
from fer_keras.common.errors import DataError, did_you_mean
from fer_keras.data.gathered import take_images
from fer_keras.data.prepared import cache_folder, decode_once, prepare_once, read_content
from fer_keras.data.registry import dataset_module
from fer_keras.data.samples import SPLITS, DatasetInfo, Samples, one_hot
from fer_keras.data.votes import RULES, targets_from_votes


def describe(name: str) -> DatasetInfo:
    """What is known about a data set: classes, official counts, licence, how to get it.

    Args:
        name: As listed by `list_datasets`.

    Returns:
        Its `DatasetInfo`.

    Raises:
        DataError: There is no data set of this name.
    """
    return dataset_module(name).INFO


def find_source(name: str, source: str | os.PathLike[str] | None = None) -> Path | None:
    """Where a data set's own files are.

    Args:
        name: As listed by `list_datasets`.
        source: A file or folder to use; without it, `$FER_KERAS_DATA` is searched.

    Returns:
        The file or folder that the data set is read from; None where there is none.

    Raises:
        DataError: There is no data set of this name.
    """
    module = dataset_module(name)
    if source:
        given = Path(source).expanduser()
        if given.is_dir():
            return module.find(given)
        return given if given.is_file() else None
    if module.INFO.needs_path:
        return None
    # A built-in data set is found wherever it is looked for; the others are not below a file.
    root = Path(os.environ.get("FER_KERAS_DATA") or os.devnull).expanduser()
    return module.find(root / module.INFO.name) or module.find(root)


def is_available(name: str, source: str | os.PathLike[str] | None = None) -> bool:
    """Whether a data set can be prepared here; see `find_source` for the arguments."""
    return find_source(name, source) is not None


def require_source(name: str, source: str | os.PathLike[str] | None = None) -> Path:
    """As `find_source`, but a data set that is not there is an error that tells how to get it.

    Args:
        name: As listed by `list_datasets`.
        source: A file or folder to use; without it, `$FER_KERAS_DATA` is searched.

    Returns:
        The file or folder that the data set is read from.

    Raises:
        DataError: There is no such data set, or its files are not there.
    """
    info = describe(name)
    found = find_source(name, source)
    if found is not None:
        return found
    root = os.environ.get("FER_KERAS_DATA")
    if source:
        looked = f"Looked in {source}."
    elif info.needs_path:
        looked = "It is read from a path that you name as source."
    elif root:
        looked = f"Looked in {Path(root) / name} and {root}."
    else:
        looked = "No source was given, and FER_KERAS_DATA names no data folder."
    raise DataError(
        f"The files of {name} were not found. {looked}\nHow to get them:\n{info.how_to_get}"
    )


def tracked_name(name: str, source: str | os.PathLike[str] | None) -> str:
    """What a data set is called where runs on different ones lie beside each other.

    Args:
        name: As listed by `list_datasets`.
        source: The file or folder it is read from; empty where it was looked for.

    Returns:
        The name; for a data set that is nothing without its path also the folder's name and a mark
        of where it lies, since two folders are two data sets: `folder-office-3fa2c1`.
    """
    info = describe(name)
    if not source or not info.needs_path:
        return info.name
    path = Path(source).expanduser().resolve()
    mark = hashlib.sha256(str(path).encode()).hexdigest()[:6]
    return f"{info.name}-{re.sub(r'[^A-Za-z0-9_-]', '_', path.name)}-{mark}"


def prepare(
    name: str,
    source: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    beam: Sequence[str] = (),
) -> Path:
    """Prepares a data set for TFDS, once; a second call returns at once.

    Args:
        name: As listed by `list_datasets`.
        source: A file or folder to use; without it, `$FER_KERAS_DATA` is searched.
        cache_dir: Where prepared data is kept; else `$FER_KERAS_CACHE` or `~/.cache/fer_keras`.
        beam: Flags of Apache Beam, which then makes the records in parallel; see
            `fer_keras.data.beam_records.beam_flags`.

    Returns:
        The TFDS folder, readable with `tfds.builder_from_directory`.

    Raises:
        DataError: The data set is not there, is wrong (with file and row), or the cache cannot be
            written; nothing half-done stays behind.
    """
    found = require_source(name, source)
    return prepare_once(dataset_module(name), found, cache_folder(cache_dir), beam)


def load_samples(
    name: str,
    split: str,
    *,
    label_rule: str | None = None,
    image_size: int | tuple[int, int] = 48,
    channels: int = 1,
    enlarge: Enlarge = "cubic",
    source: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    limit: int | None = None,
) -> Samples:
    """One split of a data set as arrays, prepared and decoded the first time.

    Args:
        name: As listed by `list_datasets`.
        split: `"train"`, `"validation"` or `"test"`.
        label_rule: How votes become targets, a rule of `fer_keras.data.votes`, by default
            `"majority"`; `"hard"` for the data set's own labels, the only rule without votes.
        image_size: Side of the square images in pixels, or `(height, width)`.
        channels: 1 for grey, 3 for RGB.
        enlarge: How smaller pictures grow; larger ones are averaged over areas.
        source: A file or folder to use; without it, `$FER_KERAS_DATA` is searched.
        cache_dir: Where prepared data is kept; else `$FER_KERAS_CACHE` or `~/.cache/fer_keras`.
        limit: At most so many samples, spread evenly over the split; None or 0 for all.

    Returns:
        The samples, in the order of the source.

    Raises:
        DataError: An argument is out of range, the data set or the split is not there, the source
            is wrong, or the cache cannot be written.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if split not in SPLITS:
        raise DataError(f"Unknown split {split!r}. {did_you_mean(split, SPLITS)}")
    if channels not in (1, 3) or min(height, width) < 1:
        raise DataError(
            f"Expected channels 1 or 3 and an image_size of 1 or more. Received: "
            f"channels={channels}, image_size={image_size}."
        )
    module = dataset_module(name)
    rule = _checked_rule(module.INFO, label_rule)
    cache = cache_folder(cache_dir)
    found = require_source(name, source)
    folder = prepare_once(module, found, cache)
    content = read_content(folder)
    if split not in content.counts:
        because = f" ({'; '.join(content.notes)})" if content.notes else ""
        raise DataError(
            f"{name} has no {split} split here{because}. Expected one of: "
            f"{', '.join(content.counts)}. Source: {found}"
        )
    images, facts = decode_once(folder, split, (height, width), channels, cache, enlarge)
    targets, kept = _targets(facts, rule, len(content.class_names))
    if limit and limit < len(kept):
        # Spread evenly: the first rows of a source are often all of one class.
        spread = np.linspace(0, len(kept) - 1, limit).round().astype(np.int64)
        targets, kept = targets[spread], kept[spread]
    whole = len(kept) == len(images)
    del facts["label"]
    return Samples(
        name=module.INFO.name,
        split=split,
        class_names=content.class_names,
        label_rule=rule,
        images=images if whole else take_images(images, kept),
        targets=targets,
        facts=facts if whole else {column: values[kept] for column, values in facts.items()},
        notes=content.notes,
    )


def label_rules(info: DatasetInfo) -> tuple[str, ...]:
    """The rules by which a data set's labels are made, its default first.

    Args:
        info: Of the data set.
    """
    return (*RULES, "hard") if info.has_votes else ("hard",)


def _checked_rule(info: DatasetInfo, label_rule: str | None) -> str:
    allowed = label_rules(info)
    rule = label_rule or allowed[0]
    if rule not in allowed:
        raise DataError(
            f"{info.name}: expected a label_rule of {', '.join(allowed)}. Received: {rule!r}."
        )
    return rule


def _targets(
    facts: dict[str, np.ndarray], rule: str, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Targets and the rows they are for."""
    if rule == "hard":
        kept = np.flatnonzero(facts["label"] >= 0)
        return one_hot(facts["label"][kept], num_classes), kept
    return targets_from_votes(facts["votes"], rule)
