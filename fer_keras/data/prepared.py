"""The cache: a data set is prepared once (TFDS) and decoded once (uint8 `.npy`).

Every folder of the cache is written under another name and renamed when it is complete and on the
disk, so a killed run leaves nothing that looks usable, and two runs that prepare the same data set
do not disturb each other. The name holds a hash of the source files' paths, sizes and times: a
changed source is prepared anew.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.common.decode import Enlarge, decode_image, resize
from fer_keras.common.errors import DataError
from fer_keras.common.progress import each, progress
from fer_keras.data.beam_records import beam_config, collect_faults
from fer_keras.data.columns import ColumnWriter, read_columns
from fer_keras.data.registry import make_builder, open_prepared
from fer_keras.data.samples import DatasetInfo, Example, SourceContent

_CONTENT_FILE = "content.json"
_RECORDS_PER_READ = 512
# Part of the name of a decoded folder: raised when the same bytes come to give other files.
_DECODING = "2"
# A folder that a killed run left behind; no preparation of one split takes as long.
_ABANDONED_AFTER_S = 24 * 3600


@dataclass(frozen=True)
class PreparedContent:
    """What `content.json` of a prepared folder says.

    Attributes:
        class_names: Emotions in the order of the labels.
        counts: Split -> number of records.
        notes: Carried over from the source.
        listings: Text files beside it, one for each of `SourceContent.listings`.
    """

    class_names: tuple[str, ...]
    counts: Mapping[str, int]
    notes: tuple[str, ...]
    listings: tuple[Path, ...] = ()


def cache_folder(cache_dir: str | os.PathLike[str] | None) -> Path:
    """The given folder, else `$FER_KERAS_CACHE`, else `~/.cache/fer_keras`."""
    chosen = cache_dir or os.environ.get("FER_KERAS_CACHE") or Path("~/.cache/fer_keras")
    return Path(chosen).expanduser()


def prepare_once(module: Any, source: Path, cache: Path, beam: Sequence[str] = ()) -> Path:
    """Prepares a data set unless that was done before.

    Args:
        module: The data set's module.
        source: As found by its `find`.
        cache: Cache folder.
        beam: Flags of Apache Beam (see `beam_flags`), which then makes the records; none for this
            process alone.

    Returns:
        The TFDS folder `.../NAME/VERSION`.

    Raises:
        DataError: The source is wrong, pictures cannot be decoded, or the cache cannot be written.
    """
    info: DatasetInfo = module.INFO
    final = cache / "prepared" / f"{info.name}-{_source_key(module, source)}"
    folder = final / info.name / info.version
    if (final / _CONTENT_FILE).is_file():
        return folder
    with _written_whole(final) as temporary, progress(f"preparing {info.name}, once"):
        content: SourceContent = module.read(source)
        counts = _write_records(info, content, temporary, source, beam)
        for name, lines in content.listings.items():
            _write_lines(temporary / f"{name}.txt", lines)
        _write_json(
            temporary / _CONTENT_FILE,
            {
                "class_names": list(content.class_names),
                "counts": counts,
                "notes": list(content.notes),
                "listings": list(content.listings),
                "source": str(source),
            },
        )
    return folder


def read_content(folder: Path) -> PreparedContent:
    """The description of a prepared folder.

    Args:
        folder: As returned by `prepare_once`.

    Returns:
        Class names, counts and notes.

    Raises:
        DataError: The cache was damaged.
    """
    path = folder.parent.parent / _CONTENT_FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        return PreparedContent(
            class_names=tuple(content["class_names"]),
            counts={split: int(count) for split, count in content["counts"].items()},
            notes=tuple(content["notes"]),
            listings=tuple(path.parent / f"{name}.txt" for name in content.get("listings", ())),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path.parent, error) from error


def decode_once(
    folder: Path,
    split: str,
    image_size: tuple[int, int],
    channels: int,
    cache: Path,
    enlarge: Enlarge = "cubic",
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The images of a prepared split at one size, decoded the first time and mapped from then on.

    Args:
        folder: As returned by `prepare_once`.
        split: A split it has.
        image_size: `(height, width)` in pixels.
        channels: 1 or 3.
        cache: Cache folder.
        enlarge: How smaller pictures grow.

    Returns:
        Images `(n, height, width, channels)` uint8 and columns of length n, all memory-mapped:
        `label`, `source`, `sha256`, `subject`, `votes` where there are, and attributes.

    Raises:
        DataError: The cache cannot be written, or was damaged.
    """
    height, width = image_size
    size = f"{height}x{width}x{channels}{'' if enlarge == 'cubic' else f'-{enlarge}'}"
    final = cache / "decoded" / f"{folder.parent.parent.name}-{split}-{size}-{_DECODING}"
    if not final.is_dir():
        count = read_content(folder).counts[split]
        with _written_whole(final) as temporary:
            _decode_records(folder, split, count, (height, width, channels), temporary, enlarge)
    try:
        images = np.load(final / "images.npy", mmap_mode="r", allow_pickle=False)
        facts = read_columns(final / "facts")
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(final, error) from error
    return images, facts


def _source_key(module: Any, source: Path) -> str:
    """16 hexadecimal digits that change with the version of the preparation and the files."""
    digest = hashlib.sha256(f"{module.INFO.name} {module.INFO.version}\n".encode())
    if not module.__name__.startswith("fer_keras."):
        # A reader of one's own, which changes without a new version.
        digest.update(Path(module.__file__).read_bytes())
    for path in module.source_files(source):
        absolute = os.path.abspath(path)
        try:
            facts = os.stat(absolute)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
        entry = f"{absolute}\0{facts.st_size}\0{facts.st_mtime_ns}\n"
        # A file name need not be valid text.
        digest.update(entry.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def _write_records(
    info: DatasetInfo, content: SourceContent, folder: Path, source: Path, beam: Sequence[str]
) -> dict[str, int]:
    """Runs the TFDS builder and counts what it wrote; anything left out is an error."""
    read = dict.fromkeys(content.splits, 0)

    def counted(split: str, examples: Iterable[Example]) -> Iterator[Example]:
        # Those of the official copy; yours may have others.
        total = sum(info.official_counts.get(split, {}).values()) or None
        for example in each(examples, f"preparing {split}", total):
            read[split] += 1
            yield example

    splits = {split: counted(split, examples) for split, examples in content.splits.items()}
    content = replace(content, splits=splits)
    faults = folder / "faults"
    faults.mkdir()
    builder = make_builder(info, content, folder, faults if beam else None)
    with _quiet_tfds():
        try:
            builder.download_and_prepare(download_config=beam_config(beam) if beam else None)
        except Exception as error:
            # TFDS also fails when every picture of a split is bad: the list says more than that.
            builder.unreadable.extend(collect_faults(faults))
            if not builder.unreadable or _out_of_space(error):
                raise
        else:
            builder.unreadable.extend(collect_faults(faults))
    if builder.unreadable:
        listed = "\n  ".join(builder.unreadable)
        raise DataError(
            f"{len(builder.unreadable)} pictures in {source} cannot be used; nothing was prepared. "
            f"Replace or remove them:\n  {listed}"
        )
    for leftover in (faults, folder / "downloads"):
        shutil.rmtree(leftover, ignore_errors=True)
    written = {split: int(facts.num_examples) for split, facts in builder.info.splits.items()}
    if written != read:
        raise DataError(f"{source}: read {read} examples but stored {written}. Prepare it again.")
    return written


def _decode_records(
    folder: Path,
    split: str,
    count: int,
    shape: tuple[int, int, int],
    target: Path,
    enlarge: Enlarge,
) -> None:
    height, width, channels = shape
    facts = ColumnWriter(target / "facts")
    # Written as a plain stream: on a full disk a memory map would end the process by a signal.
    with (target / "images.npy").open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
        np.lib.format.write_array_header_1_0(stream, header)
        records = _read_records(folder, split, count)
        for record in each(records, f"decoding {split}, once", count):
            data, attributes = record.pop("image"), record.pop("attributes", {})
            source = record["source"].decode()
            try:
                pixels = decode_image(data, channels=1 if channels == 1 else 3, source=source)
            except DataError as error:
                raise _damaged(folder.parent.parent, error) from error
            stream.write(np.ascontiguousarray(resize(pixels, (height, width), enlarge)).tobytes())
            facts.add(record | attributes)
        _flush(stream)
    facts.finish()


def _read_records(folder: Path, split: str, count: int) -> Iterator[dict[str, Any]]:
    """All records of a prepared split in order, read in chunks."""
    try:
        records = open_prepared(folder, split)
        if len(records) != count:
            raise ValueError(f"expected {count} records of {split}, found {len(records)}")
        for first in range(0, count, _RECORDS_PER_READ):
            yield from records.__getitems__(
                list(range(first, min(first + _RECORDS_PER_READ, count)))
            )
    except (OSError, ValueError, RuntimeError, LookupError) as error:
        raise _damaged(folder.parent.parent, error) from error


def _read_outside(cache: Path, error: Exception) -> Path | None:
    """The file of the source that the error is about; None where it is about the cache."""
    if not isinstance(error, OSError) or not isinstance(error.filename, str):
        return None
    path = Path(error.filename).absolute()
    return None if path.is_relative_to(cache.absolute()) else path


@contextlib.contextmanager
def _written_whole(final: Path) -> Iterator[Path]:
    """A temporary folder that takes the name `final` at the end, or vanishes after an error."""
    temporary: Path | None = None
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(final.parent)
        # Not mkdtemp: its folders are closed to everybody else, and so would be a shared cache.
        temporary = final.parent / f".incomplete-{final.name}-{uuid.uuid4().hex[:8]}"
        temporary.mkdir()
        yield temporary
        try:
            temporary.rename(final)
        except OSError as error:
            # Another run was first; its folder is as good as this one.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    except DataError:
        raise
    except Exception as error:
        # Libraries also raise OSError without a number, for other reasons than the disk's.
        if getattr(error, "errno", None) is None and not _out_of_space(error):
            raise
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        source = _read_outside(final.parent, error)
        if source is not None:
            raise DataError(f"The data set cannot be read: {reason}: {source}") from error
        raise DataError(
            f"Cannot write the cache: {reason}. Free some space or name another folder with "
            f"FER_KERAS_CACHE or cache_dir; nothing was changed: {final.parent}"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    oldest = time.time() - _ABANDONED_AFTER_S
    for path in folder.glob(".incomplete-*"):
        if path.stat().st_mtime < oldest:
            shutil.rmtree(path, ignore_errors=True)


def _out_of_space(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error; the record writer reports it in words only."""
    while error is not None:
        text = str(error).lower()
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or any(
            phrase in text for phrase in ("no space left", "quota exceeded", "file too large")
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=2)
        _flush(stream)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    # A file name need not be valid text.
    with path.open("w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.writelines(f"{line}\n" for line in lines)
        _flush(stream)


def _flush(stream: Any) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _damaged(folder: Path, error: Exception) -> DataError:
    return DataError(f"The cache is damaged ({error}). Delete this folder and run again: {folder}")


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Keeps the builder from drawing its own progress bars and its report on stdout."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
