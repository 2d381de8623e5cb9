"""The csv layout of FER2013: one row per image with its pixels written out as numbers.

Read by every data set that stands on FER2013, so that none of them imports another.
"""

import csv
import gzip
import io
import lzma
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar, cast

import numpy as np

from fer_keras.common.errors import DataError

IMAGE_SIZE = 48
_NUM_PIXELS = IMAGE_SIZE * IMAGE_SIZE
_NUM_CODES = 7
_COLUMNS = ("emotion", "pixels", "usage")

USAGE_SPLITS: dict[str, str] = {
    "Training": "train",
    "PublicTest": "validation",
    "PrivateTest": "test",
}

_Member = TypeVar("_Member")


@dataclass(frozen=True)
class PixelTable:
    """All rows of one FER2013 csv, in file order.

    Attributes:
        pixels: `(n, 48, 48)` uint8.
        codes: `(n,)` int64 emotion codes 0..6.
        splits: `(n,)` str, `"train"`, `"validation"` or `"test"`.
    """

    pixels: np.ndarray
    codes: np.ndarray
    splits: np.ndarray


def find_csv(folder: Path) -> Path | None:
    """The FER2013 csv in a folder, plain or packed, under the names in use.

    Args:
        folder: Where to look; its sub-folders are not searched.

    Returns:
        The first that exists, plain files before packed ones; None without any.
    """
    stems = ("fer2013.csv", "icml_face_data.csv")
    names = [stem + packing for packing in ("", ".gz", ".zip", ".tar.gz") for stem in stems]
    names += ["fer2013.zip", "fer2013.tar.gz", "fer2013.tgz"]
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    return found or (archive if _holds_csv(archive := folder / "archive.zip", stems) else None)


def _holds_csv(archive: Path, names: Container[str]) -> bool:
    """Whether a zip file has one of the files; Kaggle calls every download `archive.zip`."""
    if not archive.is_file():
        return False
    try:
        with zipfile.ZipFile(archive) as packed:
            return any(name.rsplit("/", 1)[-1] in names for name in packed.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def read_pixel_csv(path: Path) -> PixelTable:
    """Reads and checks a FER2013 csv.

    Both column spellings in use are read: `emotion,pixels,Usage` and `emotion, Usage, pixels`.

    Args:
        path: `.csv`, `.csv.gz`, or a `.zip`, `.tar.gz` or `.tgz` that holds one such csv.

    Returns:
        Every row of the file.

    Raises:
        DataError: The file cannot be read or unpacked, or a row is wrong; names the row, counted
            from 1 after the header, what was expected and what was received.
    """
    pixels = bytearray()
    codes: list[int] = []
    splits: list[str] = []
    try:
        with open_text(path) as lines:
            reader = csv.reader(lines)
            emotion, pixel, usage = columns_by_name(path, next(reader, []), _COLUMNS)
            for number, row in enumerate(reader, start=1):
                if not row:  # A blank line, mostly the last.
                    continue
                if len(row) != 3:
                    raise DataError(
                        f"{path}, row {number}: expected 3 columns (emotion, pixels, Usage). "
                        f"Received: {len(row)}. Is the file complete?"
                    )
                codes.append(_code(path, number, row[emotion]))
                splits.append(usage_split(path, number, row[usage]))
                pixels += _pixels(path, number, row[pixel])
    except csv.Error as error:
        raise DataError(f"{path}, row {len(codes) + 1}: not a csv row: {error}.") from error
    if not codes:
        raise DataError(f"{path}: expected image rows after the header. Received: none.")
    table = np.frombuffer(bytes(pixels), np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    return PixelTable(table, np.array(codes, np.int64), np.array(splits))


def missing_split_notes(source: Path, splits: Container[str]) -> tuple[str, ...]:
    """What to say about a copy that lacks a split.

    Args:
        source: The csv, named in the message.
        splits: The splits it has rows for.

    Returns:
        A note for a copy without PrivateTest rows, else nothing.

    Raises:
        DataError: Training or PublicTest rows are missing: such a file is not complete.
    """
    for usage in ("Training", "PublicTest"):
        if USAGE_SPLITS[usage] not in splits:
            raise DataError(
                f"{source}: expected rows with Usage {usage}. Received: none. Is the file complete?"
            )
    return () if "test" in splits else (f"no PrivateTest rows in this copy ({source.name})",)


def columns_by_name(path: Path, header: list[str], wanted: tuple[str, ...]) -> tuple[int, ...]:
    """Where the wanted columns stand in a csv header; case and surrounding spaces do not count.

    Args:
        path: Named in the error.
        header: First row of the file.
        wanted: Lower-case names; the header must have these and no others.

    Returns:
        One index for every wanted name.

    Raises:
        DataError: A name is missing, double or unknown.
    """
    found = [name.strip().lower().lstrip("\ufeff") for name in header]
    if sorted(found) != sorted(wanted):
        received = ", ".join(name[:40] for name in header[:16]) or "nothing"
        raise DataError(
            f"{path}: expected a header with the columns {', '.join(wanted)}. Received: {received}."
        )
    return tuple(found.index(name) for name in wanted)


def usage_split(path: Path, number: int, text: str) -> str:
    """The split that a Usage cell stands for.

    Args:
        path: Named in the error.
        number: Row number named in the error.
        text: `"Training"`, `"PublicTest"` or `"PrivateTest"`.

    Returns:
        `"train"`, `"validation"` or `"test"`.

    Raises:
        DataError: The cell holds anything else.
    """
    split = USAGE_SPLITS.get(text.strip())
    if split is None:
        raise DataError(
            f"{path}, row {number}: expected Usage {', '.join(USAGE_SPLITS)}. "
            f"Received: {text[:40]!r}."
        )
    return split


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """Opens a csv as text, unpacking it on the fly.

    Args:
        path: Plain, gzip, zip or tar file; an archive must hold exactly one csv.

    Yields:
        Text lines, decoded as UTF-8.

    Raises:
        DataError: The file is missing, damaged or not text, or the archive does not hold one csv.
    """
    try:
        with _open_bytes(path) as stream, io.TextIOWrapper(stream, "utf-8", newline="") as lines:
            yield lines
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError) as error:
        raise DataError(
            f"{path}: damaged or incomplete archive: {error}. Fetch it again."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected a csv as UTF-8 text. Received: {error}.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error


@contextmanager
def _open_bytes(path: Path) -> Iterator[IO[bytes]]:
    name = path.name.lower()
    if name.endswith((".tar.gz", ".tgz", ".tar")):
        with tarfile.open(path) as archive:
            # macOS adds "._fer2013.csv" with file attributes beside the real one.
            members = [m for m in archive.getmembers() if m.isfile() and _is_table(m.name)]
            stream = archive.extractfile(_only(path, members))
            if stream is None:
                raise DataError(f"{path}: expected a csv file in the archive. Received: a link.")
            with stream:
                yield stream
    elif name.endswith(".zip"):
        with zipfile.ZipFile(path) as packed:
            entry = _only(path, [n for n in packed.namelist() if _is_table(n)])
            with packed.open(entry) as stream:
                yield stream
    elif name.endswith(".gz"):
        with gzip.open(path, "rb") as unpacked:
            yield cast(IO[bytes], unpacked)
    else:
        with path.open("rb") as stream:
            yield stream


def _is_table(member: str) -> bool:
    parts = member.split("/")
    return parts[-1] in ("fer2013.csv", "icml_face_data.csv") and "__MACOSX" not in parts


def _only(path: Path, members: list[_Member]) -> _Member:
    if len(members) != 1:
        raise DataError(
            f"{path}: expected one fer2013.csv or icml_face_data.csv in the archive. "
            f"Received: {len(members)}."
        )
    return members[0]


def _code(path: Path, number: int, text: str) -> int:
    cell = text.strip()
    if not (cell.isascii() and cell.isdigit() and int(cell) < _NUM_CODES):
        raise DataError(
            f"{path}, row {number}: expected an emotion code 0..{_NUM_CODES - 1}. "
            f"Received: {text[:40]!r}."
        )
    return int(cell)


def _pixels(path: Path, number: int, text: str) -> bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)
            values = np.fromstring(text, dtype=np.int64, sep=" ")
    except (ValueError, DeprecationWarning) as error:
        raise DataError(
            f"{path}, row {number}: expected {_NUM_PIXELS} whole numbers separated by spaces. "
            f"Received: {text[:40]!r}..."
        ) from error
    if len(values) != _NUM_PIXELS:
        raise DataError(
            f"{path}, row {number}: expected {_NUM_PIXELS} pixels. Received: {len(values)}."
        )
    if values.min() < 0 or values.max() > 255:
        wrong = values[(values < 0) | (values > 255)][0]
        raise DataError(f"{path}, row {number}: expected pixels 0..255. Received: {wrong}.")
    return values.astype(np.uint8).tobytes()
