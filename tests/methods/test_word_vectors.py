"""The word-vector reader against files that gensim itself wrote."""

import gzip
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.methods.word_vectors import (
    SHIPPED_VECTORS,
    find_word_vectors,
    keyed_vectors,
    load_word_vectors,
    vocabulary,
)

WORDS = ("happy", "sad", "naïve", "angry", "New_York")


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).normal(size=(len(WORDS), 7)).astype(np.float32)


@pytest.fixture(scope="module")
def keyed(vectors):
    from gensim.models import KeyedVectors

    keyed = KeyedVectors(vector_size=7)
    keyed.add_vectors(list(WORDS), vectors)
    return keyed


def write(keyed, path: Path, layout: str) -> Path:
    binary = layout.startswith("bin")
    plain = path.parent / "plain"
    keyed.save_word2vec_format(str(plain), binary=binary, write_header="glove" not in layout)
    content = plain.read_bytes()
    path.write_bytes(gzip.compress(content) if layout.endswith("gz") else content)
    return path


@pytest.mark.parametrize("layout", ["bin", "bin.gz", "txt", "txt.gz", "glove.txt", "glove.txt.gz"])
@pytest.mark.parametrize("named", [True, False], ids=["suffix", "no suffix"])
def test_every_layout_reads_what_gensim_wrote(tmp_path, keyed, vectors, layout, named):
    # Without a suffix as well: gensim's downloader names a binary file "...-300.gz".
    path = write(keyed, tmp_path / (f"v.{layout}" if named else "v"), layout)
    order = [3, 0, 4, 2]
    read = load_word_vectors(path, [WORDS[i] for i in order])
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, vectors[order])
    assert vocabulary(path) == WORDS


def test_binary_without_line_ends_as_in_googlenews(tmp_path, vectors):
    path = tmp_path / "v.bin"
    body = b"".join(w.encode() + b" " + v.tobytes() for w, v in zip(WORDS, vectors, strict=True))
    path.write_bytes(b"5 7\n" + body)
    np.testing.assert_array_equal(load_word_vectors(path, WORDS), vectors)
    path.write_bytes(b"5 7\n" + body[:-3])
    with pytest.raises(DataError, match="cut short"):
        load_word_vectors(path, ["missing"])


def test_vectors_across_chunk_borders(tmp_path):
    # 300 dimensions and 3,000 words: 3.6 MB, several chunks, borders inside words and vectors.
    from gensim.models import KeyedVectors

    vectors = np.random.default_rng(1).normal(size=(3000, 300)).astype(np.float32)
    words = [f"word{i}" for i in range(3000)]
    keyed = KeyedVectors(vector_size=300)
    keyed.add_vectors(words, vectors)
    for layout in ("bin", "txt"):
        path = write(keyed, tmp_path / f"v.{layout}", layout)
        np.testing.assert_array_equal(load_word_vectors(path, words), vectors)


def test_memory_stays_small_while_a_large_file_is_streamed(tmp_path):
    # A sparse file of 1.2 GB: a reader that loads it whole cannot stay below the limit.
    path = tmp_path / "large.bin"
    dimensions, fillers = 8000, 40_000
    with path.open("wb") as file:
        file.write(f"{fillers + 1} {dimensions}\n".encode())
        for i in range(fillers):
            file.write(f"w{i} ".encode())
            file.seek(4 * dimensions, os.SEEK_CUR)
        file.write(b"late " + np.ones(dimensions, "<f4").tobytes())
    if path.stat().st_blocks * 512 > 400 * 2**20:
        pytest.skip("this file system has no sparse files")
    code = (
        "import resource, sys; from fer_keras.methods.word_vectors import load_word_vectors;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "assert load_word_vectors(sys.argv[1], ['late']).sum() == 8000;"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 50 * 1024, "KiB above the imports"


def test_missing_word_is_named_with_its_neighbours():
    with pytest.raises(ConfigError, match=r"'hapy' \(nearest: happy.*'qqqq' \(nearest: none\)"):
        load_word_vectors(None, ["hapy", "sad", "qqqq"])
    assert list(find_word_vectors(None, ["hapy", "sad"])) == ["sad"]


def test_words_are_case_sensitive(tmp_path, keyed):
    path = write(keyed, tmp_path / "v.bin", "bin")
    with pytest.raises(ConfigError, match=r"'Happy' \(nearest: happy\)"):
        load_word_vectors(path, ["Happy"])


class _Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("name", ["v.kv", "v.bin", "v.txt", "v"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_no_pickle_is_executed(tmp_path, name, protocol):
    marker = tmp_path / "executed"
    path = tmp_path / name
    path.write_bytes(pickle.dumps(_Malicious(marker), protocol=protocol))
    with pytest.raises(DataError):
        load_word_vectors(path, ["happy"])
    with pytest.raises(DataError):
        vocabulary(path)
    assert not marker.exists()
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(DataError):
        load_word_vectors(path, ["happy"])
    assert not marker.exists()


def test_kv_is_refused_with_the_way_to_convert_it(tmp_path, keyed):
    path = tmp_path / "v.kv"
    keyed.save(str(path))
    with pytest.raises(DataError, match="save_word2vec_format"):
        load_word_vectors(path, ["happy"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expected a word2vec"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "Expected a word2vec"),
        (b"0 5\n", "at least 1 word"),
        (b"3 99999999\n", "dimensions"),
        (b"2 2\nhappy 1 2\n", "Expected 2 words, received 1"),
        (b"2 2\nhappy 1 2\nsad 1\n", "a word and 2 numbers"),
        (b"2 2\nhappy 1 2\nsad 1 x\n", "not numbers"),
        (b"2 2\nhappy 1 2\nsad nan 1\n", "not finite"),
        (b"happy 1 2\nsad 0 0\n", "all zero"),
        (b"1 2\n" + b"\xff" * 3_000_000, "over 4096 bytes"),
        (gzip.compress(b"2 2\nhappy 1 2\nsad 1 2\n" * 99)[:-30], "damaged gzip"),
    ],
    ids=["empty", "png", "no words", "wide", "short", "row", "text", "nan", "zero", "blob", "gz"],
)
def test_damaged_files_are_refused_by_name(tmp_path, content, message):
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load_word_vectors(path, ["sad"])
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"no-such\.bin"):
        load_word_vectors(tmp_path / "no-such.bin", ["happy"])


def test_shipped_slice():
    words = vocabulary()
    assert len(words) == len(set(words)) == 162
    vectors = load_word_vectors(None, words)
    assert vectors.shape == (162, 100)
    # First numbers of "happy" and "neutral" in glove.6B.100d.txt.
    assert vectors[words.index("neutral"), 0] == np.float32(-0.57835)
    attribution = (SHIPPED_VECTORS.parent / "ATTRIBUTION.md").read_text()
    assert SHIPPED_VECTORS.name in attribution
    assert "PDDL" in attribution


def test_keyed_vectors_answer_gensims_queries():
    keyed = keyed_vectors(find_word_vectors(None, ["happy", "glad", "disgust", "no-such-word"]))
    assert keyed.index_to_key == ["happy", "glad", "disgust"]
    assert keyed.most_similar("happy", topn=1)[0][0] == "glad"
