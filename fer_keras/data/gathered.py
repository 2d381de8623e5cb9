"""Pictures that are named by row number, and gathered only when a batch asks for them.

Pairs and clips are such rows: the pipeline reads them like an array, and a picture that is used a
hundred times is stored once. A part of a mapped data set is copied only up to a gigabyte, else it
is held as row numbers: FER+ leaves out a tenth of FER2013, and the same step on a set of 20 GB must
not read it into memory.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

# A mapped file of which so much is chosen is left where it is.
_LARGEST_COPY_BYTES = 2**30


class GatheredImages:
    """An array `(n, k, height, width, channels)` that holds row numbers instead of pictures.

    Pairs and clips use every picture many times: as arrays they would be many times as large as
    the data set. A part of a data set that is larger than the memory must not be copied either;
    it has no k. This has what the pipeline uses of an array: shape, length, reading by index.

    Args:
        sources: Arrays `(m, height, width, channels)` uint8, in memory or memory-mapped; their rows
            are numbered through, one array after the other. Arrays `(m, d)` of vectors too.
        rows: `(n, k)` or `(n,)` row numbers.

    Attributes:
        sources: The arrays.
        rows: The row numbers.
    """

    def __init__(self, sources: Sequence[np.ndarray], rows: np.ndarray) -> None:
        self.sources = tuple(sources)
        self.rows = rows
        self.dtype = np.dtype(sources[0].dtype)
        self._ends = np.cumsum([len(source) for source in sources])
        self.shape: tuple[int, ...] = (*rows.shape, *sources[0].shape[1:])
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: Any) -> np.ndarray:
        """The pictures of samples, by number, slice, mask or array of numbers."""
        rows = self.rows[chosen]
        # A memory-mapped file is read in order, and each picture once.
        unique, places = np.unique(rows, return_inverse=True)
        which = np.searchsorted(self._ends, unique, side="right")
        parts = [
            source[unique[which == number] - (end - len(source))]
            for number, (source, end) in enumerate(zip(self.sources, self._ends, strict=True))
        ]
        return np.concatenate(parts)[places.reshape(rows.shape)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def as_array(self) -> np.ndarray:
        """The same object, declared as the array that it reads like."""
        return cast(np.ndarray, self)


def take_images(images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The chosen pictures, copied unless that would take more than a gigabyte of memory.

    Args:
        images: Pictures by row, in memory, memory-mapped or gathered.
        chosen: `(m,)` row numbers, or a mask.

    Returns:
        `m` pictures. Of gathered and of large mapped ones only the row numbers are held.
    """
    if isinstance(images, GatheredImages):
        return GatheredImages(images.sources, images.rows[chosen]).as_array()
    rows = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
    copied_bytes = len(rows) * int(np.prod(images.shape[1:])) * images.itemsize
    if isinstance(images, np.memmap) and copied_bytes > _LARGEST_COPY_BYTES:
        return GatheredImages((images,), rows).as_array()
    return np.asarray(images[rows])


def gathered_fingerprint(parents: Sequence[str], rows: np.ndarray) -> str:
    """sha256 that identifies gathered data.

    Args:
        parents: Fingerprints of the samples that the rows are taken from.
        rows: `(n, k)` row numbers.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256("\n".join(parents).encode())
    digest.update(np.ascontiguousarray(rows, dtype="<i8").tobytes())
    return digest.hexdigest()
