"""Near duplicates: the same picture again with another brightness, compression, side or place.

Exact copies have equal pixels and are found by their hash (`splits.duplicate_audit`). Copies that
were saved again, brightened, mirrored or cropped differently have not, yet leak as much from
training into a held-out split; sets that were enlarged by augmentation before they were divided
are full of them. Two steps find them:

1. A perceptual hash of 64 bits: the DCT hash of Zauner, "Implementation and Benchmarking of
   Perceptual Image Hash Functions", 2010 (32 x 32 grey pixels, the 8 x 8 lowest frequencies above
   the constant ones, each above or below their median). Each picture is looked for as it is, and
   mirrored, and both moved by a pixel of its reduced form, among the hashes of all. Pairs within
   `max_distance` bits are found by multi-index hashing (Norouzi, Punjani and Fleet, "Fast Search in
   Hamming Space with Multi-Index Hashing", CVPR 2012).
2. The correlation of local detail (a picture less its means over 7 x 7 pixels), aligned as in step
   1. Plain correlation does not separate: two faces in the same light reach 0.9.

The defaults come from FER2013, training and PublicTest. Of 200,000 random pairs 1 in 10,000 is
within 14 bits, while 99 % of the pictures stay within 8 bits after JPEG of quality 30, noise of 8
grey levels, or 40 levels more brightness. Among the 22,000 pairs within 10 bits the correlation of
detail has two heaps, near 0.3 (different faces) and above 0.9 (copies), and a valley at 0.65. Of
pairs drawn at random and looked at, copies were 11 of 14 for 0.65..0.70, 40 of 40 for 0.70..0.75,
40 of 40 between the two splits, and 38 of 40 mirrored ones. Of 400 pictures, all were found again
mirrored, moved by one pixel of 48 each way, brightened, or saved as JPEG of quality 30; 97 % moved
by two pixels each way, 94 % enlarged by 5 %, 99 % turned by 3 degrees; but only 57 % turned by 5
degrees, half with a black box of 10 x 10, and next to none moved by three pixels or enlarged by
10 %. So the counts are lower bounds where copies were changed that much.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np

from fer_keras.common.errors import DataError
from fer_keras.data.samples import Samples

MAX_DISTANCE = 10
MIN_CORRELATION = 0.7

_SIDE = 32  # of the hashed window, pixels
_REDUCED = _SIDE + 2  # of the reduced picture, in which the window moves by one pixel each way
_FREQUENCIES = 8
# A picture whose detail has a smaller standard deviation (grey levels of 0..255) is flat: its hash
# is made of noise. In FER2013 four such pictures have 0 to 2.8, the faintest face has 5.0.
_MIN_DETAIL = 4.0
_BLOCK_BYTES = 1 << 24  # of pixels that are worked on at a time
_BLOCK_CANDIDATES = 1 << 21
_MAX_LISTED = 10_000
# Mirrored, down, right. The opposite shifts are left out: they are the same pair, looked at from
# its other picture, and so is a mirrored picture that moved upwards.
_VARIANTS: tuple[tuple[bool, int, int], ...] = tuple(
    (mirrored, down, right)
    for mirrored in (False, True)
    for down in (0, 1)
    for right in (-1, 0, 1)
    if mirrored or (down, right) != (0, -1)
)


@dataclass(frozen=True)
class NearDuplicate:
    """Two pictures that show the same with different pixels.

    Attributes:
        split: Split of the first picture.
        index: Its row in the split.
        source: Its source.
        label: Name of its most probable class.
        other_split: Split of the second picture; the same split or a later one.
        other_index: Its row.
        other_source: Its source.
        other_label: Name of its most probable class.
        distance: Different bits of the perceptual hashes, 0..64.
        correlation: Of their local detail, up to 1.
        mirrored: Whether one is the mirror image of the other.
    """

    split: str
    index: int
    source: str
    label: str
    other_split: str
    other_index: int
    other_source: str
    other_label: str
    distance: int
    correlation: float
    mirrored: bool


@dataclass(frozen=True)
class NearDuplicateReport:
    """Near duplicates within and across splits; exact copies are never counted among them.

    Attributes:
        pairs: Pairs across splits first, the surest first, at most 10,000. A picture that occurs
            several times in a split is listed once for that split.
        num_pairs: All pairs.
        num_mirrored: Pairs that are mirrored.
        num_conflicts: Pairs whose labels differ.
        within: Split -> images that have a near duplicate in the same split.
        across: `(split, other)` -> images of `split` that have a near duplicate in `other` and no
            exact one.
        num_flat: Images without enough detail to be compared.
    """

    pairs: tuple[NearDuplicate, ...]
    num_pairs: int
    num_mirrored: int
    num_conflicts: int
    within: Mapping[str, int]
    across: Mapping[tuple[str, str], int]
    num_flat: int


def near_duplicate_audit(
    splits: Mapping[str, Samples],
    *,
    max_distance: int = MAX_DISTANCE,
    min_correlation: float = MIN_CORRELATION,
) -> NearDuplicateReport:
    """Finds near duplicates of the splits' images.

    The memory needed is 2 kB for each distinct picture and about 100 bytes for each pair found.

    Args:
        splits: Split name -> its samples; the sizes of the images may differ between splits.
        max_distance: Largest number of different bits, 0..15; more takes longer.
        min_correlation: Smallest correlation of local detail, -1..1.

    Returns:
        Pairs and counts; labels are compared by name.

    Raises:
        DataError: `max_distance` is out of range.
    """
    if not splits:
        return NearDuplicateReport((), 0, 0, 0, {}, {}, 0)
    pictures = _distinct(splits)
    has_detail = _has_detail(pictures.reduced)
    num_flat = int(pictures.copies[~has_detail].sum())
    pictures = pictures.take(has_detail)
    return _report(splits, pictures, _find_pairs(pictures, max_distance, min_correlation), num_flat)


def pairs_within(
    queries: np.ndarray, others: np.ndarray, max_distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of hashes that differ in few bits, by multi-index hashing.

    Two hashes that differ in d bits differ in at most d // 4 bits of one of their four 16-bit
    parts. So for each part, only hashes in that neighbourhood are compared.

    Args:
        queries: `(n,)` uint64.
        others: `(m,)` uint64.
        max_distance: Largest number of different bits, 0..15.

    Yields:
        Rows of `queries` and rows of `others`, `(k,)` int64 each. Every pair occurs at least once,
        and again for every further part that is near.

    Raises:
        DataError: `max_distance` is out of range.
    """
    if not 0 <= max_distance <= 15:
        raise DataError(f"Expected a max_distance of 0..15 bits. Received: {max_distance}.")
    keys = np.arange(1 << 16, dtype=np.uint16)
    flips = keys[np.bitwise_count(keys) <= max_distance // 4]
    query_parts = np.ascontiguousarray(queries).view(np.uint16).reshape(-1, 4)
    other_parts = np.ascontiguousarray(others).view(np.uint16).reshape(-1, 4)
    for part in range(4):
        order = np.argsort(other_parts[:, part], kind="stable")
        by_key = others[order]
        ends = np.cumsum(np.bincount(other_parts[:, part], minlength=1 << 16))
        starts = np.concatenate([[0], ends[:-1]])
        for flip in flips:
            key = query_parts[:, part] ^ flip
            counts = ends[key] - starts[key]
            for first, last in _blocks(counts):
                block = counts[first:last]
                rows = np.repeat(np.arange(first, last), block)
                # Position of each candidate in `by_key`: where its key starts, then one by one.
                skipped = starts[key[first:last]] - (np.cumsum(block) - block)
                places = np.arange(len(rows)) + np.repeat(skipped, block)
                near = np.bitwise_count(queries[rows] ^ by_key[places]) <= max_distance
                yield rows[near], order[places[near]]


def _blocks(counts: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of rows that have some two million candidates together, at least one row each."""
    ends = np.cumsum(counts)
    first = 0
    while first < len(counts):
        done = int(ends[first - 1]) if first else 0
        last = int(np.searchsorted(ends, done + _BLOCK_CANDIDATES, side="right"))
        last = max(last, first + 1)
        if ends[last - 1] > done:
            yield first, last
        first = last


@dataclass(frozen=True)
class _Pictures:
    """The distinct pictures of each split, split after split, as columns."""

    split: np.ndarray  # number of the split
    row: np.ndarray  # the first of the equal pictures of the split
    copies: np.ndarray  # how many they are
    pixels: np.ndarray  # a number for the pixels, the same in all splits
    label: np.ndarray  # name
    reduced: np.ndarray  # (n, 34, 34) uint8

    def take(self, chosen: np.ndarray) -> "_Pictures":
        return _Pictures(*(getattr(self, column.name)[chosen] for column in fields(self)))


@dataclass(frozen=True)
class _Pairs:
    """Pairs of rows of `_Pictures` as columns, first < second, each pair once."""

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray
    correlation: np.ndarray
    mirrored: np.ndarray


def _distinct(splits: Mapping[str, Samples]) -> _Pictures:
    columns: list[tuple[np.ndarray, ...]] = []
    for number, samples in enumerate(splits.values()):
        sha256, rows, copies = np.unique(
            samples.facts["sha256"], return_index=True, return_counts=True
        )
        # In the order of the source, in which a memory-mapped file is read fastest.
        order = np.argsort(rows)
        rows = rows[order]
        labels = np.array(samples.class_names)[samples.labels[rows]]
        split = np.full(len(rows), number)
        reduced = _reduce(samples.images, rows)
        columns.append((split, rows, copies[order], sha256[order], labels, reduced))
    split, row, copies, sha256, label, reduced = map(np.concatenate, zip(*columns, strict=True))
    pixels = np.unique(sha256, return_inverse=True)[1]
    return _Pictures(split, row, copies, pixels, label, reduced)


def _find_pairs(pictures: _Pictures, max_distance: int, min_correlation: float) -> _Pairs:
    count = len(pictures.row)
    others = _hashes(pictures.reduced, False, 0, 0)
    found: list[tuple[np.ndarray, ...]] = []
    for variant in _VARIANTS:
        queries = _hashes(pictures.reduced, *variant)
        near = [np.zeros(0, np.int64)]
        near += [r * count + c for r, c in pairs_within(queries, others, max_distance)]
        rows, columns = np.divmod(np.unique(np.concatenate(near)), count)
        differ = pictures.pixels[rows] != pictures.pixels[columns]
        rows, columns = rows[differ], columns[differ]
        correlation = _correlations(pictures.reduced, rows, columns, *variant)
        sure = correlation >= min_correlation
        rows, columns, correlation = rows[sure], columns[sure], correlation[sure]
        distance = np.bitwise_count(queries[rows] ^ others[columns])
        ends = (np.minimum(rows, columns), np.maximum(rows, columns))
        found.append((*ends, distance, correlation, np.full(len(rows), variant[0])))
    pairs = [np.concatenate(column) for column in zip(*found, strict=True)]
    # A pair that was found in several variants counts in the one that fits best.
    pairs = [column[np.argsort(-pairs[3], kind="stable")] for column in pairs]
    _, best = np.unique(pairs[0] * count + pairs[1], return_index=True)
    return _Pairs(*(column[best] for column in pairs))


def _report(
    splits: Mapping[str, Samples], pictures: _Pictures, pairs: _Pairs, num_flat: int
) -> NearDuplicateReport:
    names = list(splits)
    # Whether a picture has a near duplicate, and an exact one, in each split.
    near = np.zeros((len(names), len(pictures.row)), bool)
    near[pictures.split[pairs.second], pairs.first] = True
    near[pictures.split[pairs.first], pairs.second] = True
    exact = [
        np.isin(pictures.pixels, pictures.pixels[pictures.split == number])
        for number in range(len(names))
    ]

    def images(chosen: np.ndarray) -> int:
        return int(pictures.copies[chosen].sum())

    within = {
        name: images((pictures.split == number) & near[number]) for number, name in enumerate(names)
    }
    across = {
        (name, other): images((pictures.split == number) & near[place] & ~exact[place])
        for number, name in enumerate(names)
        for place, other in enumerate(names)
        if number != place
    }
    is_across = pictures.split[pairs.first] != pictures.split[pairs.second]
    order = np.lexsort((-pairs.correlation, ~is_across))[:_MAX_LISTED]

    def place(picture: int) -> tuple[str, int, str, str]:
        split, row = names[pictures.split[picture]], int(pictures.row[picture])
        return split, row, str(splits[split].facts["source"][row]), str(pictures.label[picture])

    return NearDuplicateReport(
        pairs=tuple(
            NearDuplicate(
                *place(pairs.first[pair]),
                *place(pairs.second[pair]),
                distance=int(pairs.distance[pair]),
                correlation=float(pairs.correlation[pair]),
                mirrored=bool(pairs.mirrored[pair]),
            )
            for pair in order
        ),
        num_pairs=len(pairs.first),
        num_mirrored=int(pairs.mirrored.sum()),
        num_conflicts=int((pictures.label[pairs.first] != pictures.label[pairs.second]).sum()),
        within=within,
        across=across,
        num_flat=num_flat,
    )


def _reduce(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`(n, 34, 34)` uint8 grey pictures, each pixel the mean of the area it covers."""
    height, width, channels = images.shape[1:]
    # BT.601 weights, as in `fer_keras.common.decode`.
    grey = np.array([0.299, 0.587, 0.114] if channels == 3 else [1.0], np.float32)
    down, right = _area_means(height), _area_means(width).T
    step = max(1, _BLOCK_BYTES // (4 * height * width * channels))
    reduced = np.empty((len(rows), _REDUCED, _REDUCED), np.uint8)
    for first in range(0, len(rows), step):
        block = images[rows[first : first + step]].astype(np.float32) @ grey
        reduced[first : first + step] = np.rint(down @ (block @ right))
    return reduced


def _has_detail(reduced: np.ndarray) -> np.ndarray:
    """`(n,)` bool: whether there is more to compare than noise."""
    step = _BLOCK_BYTES // (4 * _REDUCED * _REDUCED)
    detailed = np.empty(len(reduced), bool)
    for first in range(0, len(reduced), step):
        detail = _detail(reduced[first : first + step])
        detailed[first : first + step] = detail.std(axis=(1, 2)) >= _MIN_DETAIL
    return detailed


def _area_means(size: int) -> np.ndarray:
    """`(34, size)` float32 matrix that averages a line of pixels over 34 equal stretches."""
    edges = np.linspace(0, size, _REDUCED + 1)
    pixels = np.arange(size)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.clip(covered, 0, None) * _REDUCED / size).astype(np.float32)


def _hashes(reduced: np.ndarray, mirrored: bool, down: int, right: int) -> np.ndarray:
    """`(n,)` uint64 hashes of the windows moved by so many pixels, then mirrored."""
    rows, columns = _cosines(down), _cosines(right).T
    # To mirror a line of pixels is to change the sign of its odd frequencies.
    sign = np.where(np.arange(1, _FREQUENCIES + 1) % 2, -1, 1) if mirrored else 1
    step = _BLOCK_BYTES // (4 * _REDUCED * _REDUCED)
    hashes = np.empty(len(reduced), np.uint64)
    for first in range(0, len(reduced), step):
        block = reduced[first : first + step].astype(np.float32)
        spectrum = (rows @ (block @ columns) * sign).reshape(len(block), -1)
        # Bits that are near in frequency are alike in many faces: each part gets some of all.
        spectrum = spectrum.reshape(len(block), -1, 4).swapaxes(1, 2).reshape(len(block), -1)
        lower_half = np.partition(spectrum, spectrum.shape[1] // 2 - 1, axis=1)
        bits = spectrum > lower_half[:, [spectrum.shape[1] // 2 - 1]]
        hashes[first : first + step] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return hashes


def _cosines(shift: int) -> np.ndarray:
    """`(8, 34)` float32: frequencies 1..8 of the DCT-II of the window moved by so many pixels."""
    cosines = np.zeros((_FREQUENCIES, _REDUCED), np.float32)
    angles = np.pi * (np.arange(_SIDE) + 0.5) / _SIDE
    cosines[:, 1 + shift : 1 + shift + _SIDE] = np.cos(
        np.arange(1, _FREQUENCIES + 1)[:, None] * angles
    )
    return cosines


def _correlations(
    reduced: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    mirrored: bool,
    down: int,
    right: int,
) -> np.ndarray:
    """`(k,)` correlations of detail between moved (and mirrored) pictures and others."""
    step = _BLOCK_BYTES // (4 * _REDUCED * _REDUCED)
    correlations = np.empty(len(rows), np.float32)
    for first in range(0, len(rows), step):
        moved = _window(_detail(reduced[rows[first : first + step]]), down, right)
        others = _window(_detail(reduced[columns[first : first + step]]), 0, 0)
        moved = moved[:, :, ::-1] if mirrored else moved
        correlations[first : first + step] = np.einsum(
            "nij,nij->n", _normalised(moved), _normalised(others)
        )
    return correlations


def _detail(reduced: np.ndarray) -> np.ndarray:
    """Pictures less their local means over 7 x 7 pixels, float32; fewer at the margin."""
    pixels = np.arange(_REDUCED)
    near = (np.abs(pixels[:, None] - pixels) <= 3).astype(np.float32)
    means = near / near.sum(axis=1, keepdims=True)
    grey = reduced.astype(np.float32)
    return grey - means @ (grey @ means.T)


def _window(pictures: np.ndarray, down: int, right: int) -> np.ndarray:
    return pictures[:, 1 + down : 1 + down + _SIDE, 1 + right : 1 + right + _SIDE]


def _normalised(windows: np.ndarray) -> np.ndarray:
    centred = windows - windows.mean(axis=(1, 2), keepdims=True)
    return centred / np.linalg.norm(centred, axis=(1, 2), keepdims=True)
