"""The plan of a bulk prediction: which pictures there are, in which shards, and how they are read.

An output folder holds

    _pictures            the path of every picture, each ended by a NUL byte, which no path contains
    _plan.json           what the rows depend on, and the shards as ranges of `_pictures`
    part-00000.parquet   the rows of a shard, from the moment on when it is complete

Readers of Parquet folders (pandas, pyarrow, Spark) pass over names with a leading underscore. The
list is made once, so that a shard means the same pictures whenever, and on whichever machine, it
is read. Folders are walked and lists are read one name after the other: memory holds the names of
one shard, however many there are.
"""

import codecs
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from fer_keras.common.decode import IMAGE_SUFFIXES
from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.files import atomic_path, is_litter, write_text

PICTURES = "_pictures"
PLAN = "_plan.json"
_FORMAT = 1
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """Some pictures in a row, and the file that their rows go to.

    Attributes:
        number: From 0.
        start: First byte in the list of pictures.
        end: The byte after the last one.
        num_pictures: How many there are in it.
    """

    number: int
    start: int
    end: int
    num_pictures: int

    @property
    def file_name(self) -> str:
        """Of the rows, in the output folder."""
        return f"part-{self.number:05d}.parquet"


@dataclass(frozen=True)
class Plan:
    """What there is to do in an output folder.

    Attributes:
        folder: The output folder.
        facts: What the rows depend on; a run goes on only where they are the same.
        shards: All of them, also those that are done.
        passed_over: Files of other types in the folders that were walked.
        unreadable: Folders and links that could not be read when they were walked.
    """

    folder: Path
    facts: Mapping[str, Any]
    shards: tuple[Shard, ...]
    passed_over: int
    unreadable: int = 0

    @property
    def num_pictures(self) -> int:
        """In all shards."""
        return sum(shard.num_pictures for shard in self.shards)

    def pictures(self, shard: Shard) -> list[Path]:
        """The pictures of a shard, in the order of the list."""
        with (self.folder / PICTURES).open("rb") as stream:
            stream.seek(shard.start)
            names = stream.read(shard.end - shard.start)
        return [Path(os.fsdecode(name)) for name in names.split(b"\0")[:-1]]


class Listing:
    """The pictures that files, folders and a list name, found one after the other.

    Args:
        paths: Pictures, and folders with all the pictures below them, in the order in which the
            file system tells their names (sorting would need all of them in memory).
        list_file: A file with a path on each line; empty lines are passed over.

    Attributes:
        passed_over: How many other files the folders hold; complete after the iteration.
        unreadable: How many paths, folders and links could not be read; complete likewise.

    Raises:
        DataError: A path or the list does not exist.
    """

    def __init__(self, paths: Sequence[Path], list_file: Path | None = None) -> None:
        for path in [*paths, *([] if list_file is None else [list_file])]:
            if not _may_exist(path):
                raise DataError(
                    f"expected a picture, a folder or a list, found nothing. Check the path: {path}"
                )
        if list_file is not None and list_file.is_dir():
            raise DataError(
                f"--list: expected a file with a path on each line, received a folder. Name the "
                f"folder without --list: {list_file}"
            )
        self._paths = tuple(paths)
        self._list_file = list_file
        self.passed_over = 0
        self.unreadable = 0

    @property
    def facts(self) -> dict[str, Any]:
        """Where the pictures come from, for the plan."""
        list_file = self._list_file
        return {
            "paths": [str(path.absolute()) for path in self._paths],
            "list": None if list_file is None else str(list_file.absolute()),
        }

    def __iter__(self) -> Iterator[bytes]:
        """Yields: The paths as the file system writes them."""
        self.passed_over = self.unreadable = 0
        for path in self._paths:
            try:
                is_folder = path.is_dir()
            except OSError as error:
                self._say_unreadable(error)
                continue
            if not is_folder:
                yield os.fsencode(path)
                continue
            for name in visible_files(path, self._say_unreadable):
                if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                    yield os.fsencode(name)
                else:
                    self.passed_over += 1
        if self._list_file is not None:
            with self._list_file.open("rb") as stream:
                for number, line in enumerate(stream):
                    if number == 0:  # Editors of Windows begin a text with this mark.
                        line = line.removeprefix(codecs.BOM_UTF8)
                    if b"\0" in line:
                        raise DataError(
                            "--list: expected a path on each line, received one with a NUL byte "
                            f"(of find -print0?). Write lines: {self._list_file}"
                        )
                    if on_line := line.rstrip(b"\r\n"):
                        yield on_line

    def _say_unreadable(self, error: OSError) -> None:
        self.unreadable += 1
        _LOGGER.warning("passed over, cannot be read (%s): %s", error.strerror, error.filename)


def _may_exist(path: Path) -> bool:
    """False where there is nothing; below a folder that may not be entered nobody can tell."""
    try:
        return path.exists()
    except OSError:
        return True


def visible_files(
    folder: str | os.PathLike[str], unreadable: Callable[[OSError], None] | None = None
) -> Iterator[str]:
    """All files below a folder but hidden ones, without reading a whole folder into memory.

    Hidden folders and macOS' "._name.jpg" companions hold no pictures of the user. Links to folders
    are not followed.

    Args:
        folder: Where to begin.
        unreadable: Called with the error of a folder below that cannot be read, or of a link that
            leads in a circle; None raises it.

    Yields:
        Paths that begin with `folder`, in the order in which the file system tells the names.

    Raises:
        OSError: A folder cannot be read.
    """
    try:
        entries = os.scandir(folder)
    except OSError as error:
        if unreadable is None:
            raise
        unreadable(error)
        return
    with entries:
        for entry in entries:
            if is_litter(entry.name):
                continue
            try:
                is_folder, is_link = entry.is_dir(), entry.is_symlink()
            except OSError as error:
                if unreadable is None:
                    raise
                unreadable(error)
                continue
            if is_folder and not is_link:
                yield from visible_files(entry.path, unreadable)
            elif not is_folder:
                yield entry.path


def open_plan(folder: Path, listing: Listing, facts: Mapping[str, Any], shard_size: int) -> Plan:
    """Make the plan of an output folder, or take up the one that it has.

    Args:
        folder: The output folder; it exists.
        listing: The pictures. A plan that is there keeps its own list.
        facts: What else the rows depend on: the model and the detector. JSON-ready.
        shard_size: Pictures in a shard, at least 1.

    Returns:
        The plan, which is on the disk.

    Raises:
        ConfigError: The folder holds something else, or rows that were read otherwise.
        DataError: There is no picture, or the plan is damaged.
    """
    wanted = {"format": _FORMAT, **listing.facts, "shard_size": shard_size, **facts}
    if (folder / PLAN).exists():
        plan = _read_plan(folder)
        for key, value in wanted.items():
            if plan.facts.get(key) != value:
                raise ConfigError(
                    f"--output-dir: the folder holds rows of another command: {key} was "
                    f"{plan.facts.get(key)!r}, now {value!r}. Give the same options, or another "
                    f"folder: {folder}"
                )
        return plan
    others = [name for name in os.listdir(folder) if name != PICTURES and not name.startswith(".")]
    if others:
        raise ConfigError(
            "--output-dir: expected a new or empty folder, or one of an earlier run, received one "
            f"with {min(others)!r} in it. Choose another: {folder}"
        )
    shards = _write_list(folder / PICTURES, iter(listing), shard_size)
    if not shards:
        raise DataError(
            f"no picture found ({', '.join(IMAGE_SUFFIXES)}; {listing.passed_over} other files). "
            f"Check the paths: {listing.facts['paths'] or listing.facts['list']}"
        )
    plan = Plan(folder, wanted, shards, listing.passed_over, listing.unreadable)
    ranges = [[shard.start, shard.end, shard.num_pictures] for shard in shards]
    content = {
        "facts": wanted,
        "passed_over": plan.passed_over,
        "unreadable": plan.unreadable,
        "shards": ranges,
    }
    write_text(folder / PLAN, json.dumps(content) + "\n")
    return plan


def _write_list(path: Path, names: Iterator[bytes], shard_size: int) -> tuple[Shard, ...]:
    shards: list[Shard] = []
    start = 0
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        while chunk := list(islice(names, shard_size)):
            end = start + stream.write(b"".join(name + b"\0" for name in chunk))
            shards.append(Shard(len(shards), start, end, len(chunk)))
            start = end
    return tuple(shards)


def _read_plan(folder: Path) -> Plan:
    where = folder / PLAN
    try:
        content = json.loads(where.read_text("utf-8"))
        ranges = [(int(start), int(end), int(num)) for start, end, num in content["shards"]]
        shards = tuple(Shard(number, *values) for number, values in enumerate(ranges))
        plan = Plan(
            folder,
            dict(content["facts"]),
            shards,
            int(content["passed_over"]),
            # Earlier versions did not count them.
            int(content.get("unreadable", 0)),
        )
        complete = (folder / PICTURES).stat().st_size == shards[-1].end
    except (ValueError, KeyError, TypeError, IndexError, OSError) as error:
        raise DataError(
            f"the plan is damaged ({error}). Delete the folder and begin again: {folder}"
        ) from error
    if not complete:
        raise DataError(
            f"the list of pictures is not that of the plan. Delete the folder and begin again: "
            f"{folder}"
        )
    return plan
