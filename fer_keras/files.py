"""Writing files so that a kill, a full disk or a crash never costs the old version."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
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
