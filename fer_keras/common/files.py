"""Writing files so that a kill, a full disk or a crash never costs the old version."""

import hashlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from fer_keras.common.errors import ConfigError, ModelFileError


def standard_output() -> TextIO:
    """Where rows go that no file is named for.

    Raises:
        ConfigError: It is closed, as by `>&-` in a shell.
    """
    if sys.stdout is None:
        raise ConfigError(
            "The standard output is closed, and the rows go there. Add --output FILE."
        )
    return sys.stdout


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path that takes the place of `path` when the block ends well.

    The data is on the disk before the rename, and the rename before the function returns. When the
    block raises, the temporary file is gone and `path` is as it was.

    Args:
        path: The final place; its folder must exist.

    Yields:
        A path in the same folder, with the same suffix, to write to.

    Raises:
        OSError: No space, no permission; `path` is untouched.
    """
    # Of this thread: two that write one file must not write into one temporary file.
    writer = f"{os.getpid()}-{threading.get_ident()}"
    temporary = path.with_name(f".{path.stem}.{writer}.tmp{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def is_litter(name: str) -> bool:
    """Whether a name is one that systems leave in every folder, never a picture of the user.

    Args:
        name: Of a file or folder, without its path.

    Returns:
        True for hidden names (`.DS_Store`, `._x.png`, `.ipynb_checkpoints`), `__MACOSX`,
        `Thumbs.db` and `desktop.ini`.
    """
    return name.startswith(".") or name.lower() in ("__macosx", "thumbs.db", "desktop.ini")


def write_text(path: Path, text: str) -> None:
    """Replaces a text file in one step.

    Args:
        path: The file; its folder must exist.
        text: The content, written as UTF-8.

    Raises:
        OSError: No space, no permission; the old file is untouched.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_new_text(path: Path, text: str) -> None:
    """Writes a file only where none is; of several processes exactly one writes it, as a whole.

    Args:
        path: The file; its folder must exist.
        text: The content, written as UTF-8.

    Raises:
        FileExistsError: The file is there, or another process has just written it.
        OSError: No space, no permission.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.chmod(0o644)
        # Unlike a rename, a link never takes the place of a file.
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:
            # A file system without links.
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, timeout_s: float = 120) -> Iterator[None]:
    """Holds the lock of a file; the system frees it however the process ends.

    A file system or a system without such locks (some network drives, Windows) holds nothing: what
    the block does must then not lose anything by itself, only do some of it twice.

    Args:
        path: The lock file; made if missing, never removed. Its folder must exist.
        timeout_s: How long to wait for another process or thread, in seconds.

    Yields:
        Nothing.

    Raises:
        TimeoutError: Another one held it all the time.
        OSError: The lock file cannot be opened.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("a") as file:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"Another process holds the lock for more than {timeout_s:g} s. Wait for "
                        f"it, or end it: {path}"
                    ) from None
                time.sleep(0.05)
            except OSError:
                break
        yield


MAX_CONFIG_BYTES = 16 << 20


def read_bounded(path: Path, limit: int) -> bytes:
    """The content of a file of at most `limit` bytes; a `ModelFileError` for any other."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise ModelFileError(f"{size} bytes; at most {limit} are read: {path}")
            data = file.read(limit + 1)
    except OSError as error:
        raise ModelFileError(f"Cannot read ({error.strerror}): {path}") from error
    if len(data) > limit:
        raise ModelFileError(f"More than {limit} bytes: {path}")
    return data


def read_json(path: str | Path) -> dict[str, Any]:
    """Reads a small JSON object.

    Args:
        path: The file, at most 16 MiB.

    Returns:
        The object.

    Raises:
        ModelFileError: Missing, too large, or not a JSON object.
    """
    where = Path(path)
    data = read_bounded(where, MAX_CONFIG_BYTES)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"Not valid JSON ({first_line(error)}): {where}") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"Expected a JSON object. Received: {type(value).__name__}: {where}")
    return value


def file_sha256(path: str | Path) -> str:
    """The sha256 of a file, hexadecimal.

    Args:
        path: The file.

    Returns:
        64 hexadecimal digits.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: BaseException) -> str:
    """What an error says, without the pages that Keras and LiteRT add."""
    text = str(error).strip()
    return (text.splitlines()[0] if text else type(error).__name__)[:200]
