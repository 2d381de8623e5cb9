"""Reads the vectors of a few words out of a word-vector file of any size.

Three layouts are read, plain or gzipped, and told apart by their content: the binary and the text
format of word2vec (GoogleNews-vectors-negative300.bin is the first), and the text format of GloVe,
which has no header. The file is streamed and only the wanted vectors are kept, so the 3.6 GB of
GoogleNews need some ten megabytes of memory. gensim's own `.kv` files are pickles, and a pickle can
run any program when it is opened: they are refused, and nothing here unpickles.
"""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fer_keras.common.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

SHIPPED_VECTORS = Path(__file__).parent / "assets" / "glove_6b_100d_emotion_words.txt"
"""100-d GloVe 6B vectors of 162 words about emotions; see `ATTRIBUTION.md` beside the file."""

_CHUNK_BYTES = 1 << 20
# Far above every published file; beyond it the file is damaged or something else.
_MAX_WORD_BYTES = 4096
_MAX_DIMENSIONS = 8192
# Bounds the time spent on a hint in a vocabulary of millions.
_MAX_CANDIDATES = 100_000

FloatArray = npt.NDArray[np.float32]


def load_word_vectors(path: str | Path | None, words: Sequence[str]) -> FloatArray:
    """The vectors of the given words, as stored.

    Args:
        path: Word-vector file; None or empty for `SHIPPED_VECTORS`.
        words: The words, spelled and capitalised as in the file.

    Returns:
        `(words, d)` float32, row i for word i.

    Raises:
        ConfigError: A word is not in the file; the message names it and the nearest ones.
        DataError: The file is missing, damaged, or in a format that is not read.
    """
    if not words:
        raise ConfigError("Expected at least one word, received none.")
    file = _resolve(path)
    found = find_word_vectors(file, words)
    missing = [word for word in dict.fromkeys(words) if word not in found]
    if missing:
        nearest = _nearest(file, missing)
        hints = "; ".join(f"{word!r} (nearest: {nearest[word]})" for word in missing)
        raise ConfigError(f"No word vector for {hints}. Choose other words of {file}")
    return np.stack([found[word] for word in words])


def find_word_vectors(path: str | Path | None, words: Sequence[str]) -> dict[str, FloatArray]:
    """The vectors of those of the given words that the file has.

    Args:
        path: Word-vector file; None or empty for `SHIPPED_VECTORS`.
        words: The words looked for.

    Returns:
        By word, in the order of `words`: `(d,)` float32, finite and not all zero. Where a file has
        a word twice the first one counts, as in gensim.

    Raises:
        DataError: The file is missing, damaged, or in a format that is not read.
    """
    file = _resolve(path)
    wanted = {word.encode(): word for word in words}
    found: dict[str, FloatArray] = {}
    for key, vector in _entries(file, frozenset(wanted)):
        if vector is None:
            continue
        word = wanted[key]
        if word in found:
            continue
        if not np.isfinite(vector).all() or not vector.any():
            raise DataError(f"The vector of {word!r} is not finite or all zero: {file}")
        found[word] = vector
        if len(found) == len(wanted):
            break
    return {word: found[word] for word in words if word in found}


def vocabulary(path: str | Path | None = None) -> tuple[str, ...]:
    """All words of a word-vector file.

    Args:
        path: Word-vector file; None or empty for `SHIPPED_VECTORS`.

    Returns:
        The words in the order of the file; bytes that are not UTF-8 read as U+FFFD.

    Raises:
        DataError: The file is missing, damaged, or in a format that is not read.
    """
    return tuple(_words(_resolve(path)))


def keyed_vectors(vectors: Mapping[str, FloatArray]) -> "KeyedVectors":
    """Vectors as gensim's `KeyedVectors`, for its queries (nearest words, analogies).

    Args:
        vectors: Word -> `(d,)` float32, at least one.

    Returns:
        A `gensim.models.KeyedVectors` with the words in the given order.
    """
    from gensim.models import KeyedVectors

    table = np.stack(list(vectors.values()))
    keyed = KeyedVectors(vector_size=table.shape[1])
    keyed.add_vectors(list(vectors), table)
    return keyed


def _resolve(path: str | Path | None) -> Path:
    file = Path(path).expanduser() if path else SHIPPED_VECTORS
    if not file.is_file():
        raise DataError(
            f"No word-vector file: {file}. Give a word2vec .bin, a word2vec or GloVe text file "
            "(each may be gzipped), or leave the path empty for the shipped vectors."
        )
    return file


def _words(file: Path) -> Iterator[str]:
    for word, _ in _entries(file, frozenset()):
        yield word.decode("utf-8", errors="replace")


def _nearest(file: Path, missing: Sequence[str]) -> dict[str, str]:
    """The nearest spellings in the file, among words of the same initial and similar length."""
    candidates: dict[str, list[str]] = {word: [] for word in missing}
    for other in _words(file):
        for word, near in candidates.items():
            # Files are sorted by frequency: what the bound leaves out is rare.
            if (
                other[:1].lower() == word[:1].lower()
                and abs(len(other) - len(word)) <= 4
                and len(near) < _MAX_CANDIDATES
            ):
                near.append(other)
    return {
        word: ", ".join(get_close_matches(word, near, n=3, cutoff=0.5)) or "none"
        for word, near in candidates.items()
    }


def _entries(file: Path, wanted: frozenset[bytes]) -> Iterator[tuple[bytes, FloatArray | None]]:
    """Every word of the file, with its vector where it is wanted and None elsewhere."""
    try:
        with _open(file) as stream:
            head = stream.peek(_CHUNK_BYTES)[:_CHUNK_BYTES]
            if file.suffix == ".kv" or head[:1] == b"\x80":
                raise DataError(
                    "A pickle (gensim .kv, .model) is not read, it could run any program. Expected "
                    "a word2vec .bin or a text file. Where you trust the file, convert it with "
                    "gensim: KeyedVectors.load(path).save_word2vec_format('vectors.bin', "
                    f"binary=True). Received: {file}"
                )
            num_words, dimensions, binary = _layout(head, file)
            if num_words is not None:
                stream.readline()
            reader = _binary_entries if binary else _text_entries
            count = 0
            for entry in reader(stream, dimensions, wanted, file):
                yield entry
                count += 1
                if count == num_words:
                    return
            if num_words is not None:
                raise DataError(f"Expected {num_words} words, received {count}, cut short: {file}")
    except (gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"A damaged gzip file ({error}): {file}") from error


class _Stream:
    """A buffered reader with a `peek` of any length, for plain and gzipped files alike."""

    def __init__(self, raw: IO[bytes] | gzip.GzipFile) -> None:
        self._raw = raw
        self._head = b""

    def peek(self, size: int) -> bytes:
        self._head += self._raw.read(max(0, size - len(self._head)))
        return self._head

    def read(self, size: int) -> bytes:
        if self._head:
            chunk, self._head = self._head[:size], self._head[size:]
            return chunk
        return self._raw.read(size)

    def readline(self) -> bytes:
        """One line; the head was peeked and holds all of the header line."""
        end = self._head.index(b"\n") + 1
        return self.read(end)

    def __enter__(self) -> "_Stream":
        return self

    def __exit__(self, *exception: object) -> None:
        self._raw.close()


def _open(file: Path) -> _Stream:
    raw = file.open("rb")
    gzipped = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    if not gzipped:
        return _Stream(raw)
    raw.close()
    return _Stream(gzip.open(file, "rb"))


def _layout(head: bytes, file: Path) -> tuple[int | None, int, bool]:
    """Number of words (None without header), dimensions, and whether the vectors are binary."""
    first, newline, rest = head.partition(b"\n")
    fields = first.split()
    header = len(fields) == 2 and all(field.isdigit() for field in fields)
    if not header:
        dimensions = len(fields) - 1
        if newline and 0 < dimensions <= _MAX_DIMENSIONS and _are_numbers(fields[1:]):
            return None, dimensions, False
        raise DataError(
            "Expected a word2vec .bin, a word2vec text file (first line: words dimensions) or a "
            f"GloVe text file (word and numbers on each line), plain or gzipped. Received: {file}"
        )
    num_words, dimensions = int(fields[0]), int(fields[1])
    if num_words < 1 or not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise DataError(
            f"Expected at least 1 word and 1 to {_MAX_DIMENSIONS} dimensions, received the first "
            f"line '{num_words} {dimensions}': {file}"
        )
    line = rest.partition(b"\n")[0].rstrip().rsplit(b" ", dimensions)
    binary = len(line) != dimensions + 1 or not _are_numbers(line[1:])
    return num_words, dimensions, binary


def _are_numbers(fields: Sequence[bytes]) -> bool:
    try:
        for field in fields:
            float(field)
    except ValueError:
        return False
    return True


def _binary_entries(
    stream: _Stream, dimensions: int, wanted: frozenset[bytes], file: Path
) -> Iterator[tuple[bytes, FloatArray | None]]:
    """word, space, little-endian float32 vector, and a line end that some writers leave out."""
    vector_bytes = 4 * dimensions
    buffer, position = b"", 0
    while True:
        space = buffer.find(b" ", position)
        if space < 0 or len(buffer) < space + 1 + vector_bytes:
            if space < 0 and len(buffer) - position > _MAX_WORD_BYTES:
                raise DataError(f"A word of over {_MAX_WORD_BYTES} bytes, damaged file: {file}")
            chunk = stream.read(_CHUNK_BYTES)
            if not chunk:
                if buffer[position:].strip(b"\n"):
                    raise DataError(f"The last vector is cut short: {file}")
                return
            buffer, position = buffer[position:] + chunk, 0
            continue
        word = buffer[position:space].lstrip(b"\n")
        position = space + 1 + vector_bytes
        if word in wanted:
            vector = np.frombuffer(buffer, dtype="<f4", count=dimensions, offset=space + 1)
            yield word, vector.astype(np.float32)
        else:
            yield word, None


def _text_entries(
    stream: _Stream, dimensions: int, wanted: frozenset[bytes], file: Path
) -> Iterator[tuple[bytes, FloatArray | None]]:
    """word and numbers, separated by single spaces; a GloVe word may itself hold a space."""
    # A number is written in at most some 25 characters.
    max_line_bytes = _MAX_WORD_BYTES + 32 * dimensions
    buffer = b""
    while True:
        chunk = stream.read(_CHUNK_BYTES)
        lines = (buffer + chunk).split(b"\n")
        buffer = lines.pop() if chunk else b""
        if len(buffer) > max_line_bytes:
            raise DataError(f"A line of over {max_line_bytes} bytes, damaged file: {file}")
        for line in lines:
            if not line.strip():
                continue
            fields = line.rstrip().rsplit(b" ", dimensions)
            if len(fields) != dimensions + 1:
                raise DataError(
                    f"Expected a word and {dimensions} numbers on each line, received "
                    f"{line[:60].decode('utf-8', errors='replace')!r}...: {file}"
                )
            word = fields[0]
            if word in wanted:
                if not _are_numbers(fields[1:]):
                    raise DataError(f"The vector of {word.decode()!r} is not numbers: {file}")
                yield word, np.array([float(field) for field in fields[1:]], dtype=np.float32)
            else:
                yield word, None
        if not chunk:
            return
