"""The facts of a data set as files: one mapped array for each column, written in bounded memory."""

import os
from pathlib import Path
from typing import Any

import numpy as np

_CHUNK_ROWS = 65_536


class ColumnWriter:
    """Writes columns row by row, holding a chunk of them at a time.

    Strings have one width in a NumPy file, and it is only known at the end: chunks are written with
    their own width, and joined with the largest.

    Args:
        folder: Made here; gets `00-NAME.npy`, `01-NAME.npy`, ... in the order of the first row.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._held: dict[str, list[Any]] = {}
        self._chunks: dict[str, list[Path]] = {}
        self._rows = 0

    def add(self, row: dict[str, Any]) -> None:
        """One value for each column; bytes are text in UTF-8."""
        for column, value in row.items():
            value = value.decode() if isinstance(value, bytes) else value
            self._held.setdefault(column, []).append(value)
        self._rows += 1
        if self._rows % _CHUNK_ROWS == 0:
            self._write_chunk()

    def finish(self) -> None:
        """Joins the chunks, and has them on the disk."""
        self._write_chunk()
        for number, (column, paths) in enumerate(self._chunks.items()):
            dtype = np.result_type(*(np.load(path, mmap_mode="r").dtype for path in paths))
            # A plain stream: on a full disk a memory map would end the process by a signal.
            with (self._folder / f"{number:02d}-{column}.npy").open("wb") as stream:
                shape = (self._rows, *np.load(paths[0], mmap_mode="r").shape[1:])
                header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
                for path in paths:
                    stream.write(np.load(path).astype(dtype).tobytes())
                    path.unlink()
                stream.flush()
                os.fsync(stream.fileno())

    def _write_chunk(self) -> None:
        for column, values in self._held.items():
            if values:
                paths = self._chunks.setdefault(column, [])
                paths.append(self._folder / f"{column}.{len(paths)}.chunk.npy")
                np.save(paths[-1], np.array(values), allow_pickle=False)
                values.clear()


def read_columns(folder: Path) -> dict[str, np.ndarray]:
    """The columns of a folder, memory-mapped, in the order they were written in.

    Args:
        folder: As a `ColumnWriter` left it.

    Returns:
        Column -> array of one length.

    Raises:
        OSError, ValueError, EOFError: The folder or a file in it is missing or damaged.
    """
    paths = sorted(folder.iterdir())
    return {path.stem[3:]: np.load(path, mmap_mode="r", allow_pickle=False) for path in paths}
