"""Preparation and loading: the cache, its atomicity, and the samples that come out."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fer_keras.data.prepared as prepared
from fer_keras.common.errors import DataError
from fer_keras.data import list_datasets
from fer_keras.data.load import load_samples, prepare
from fer_keras.data.samples import Samples, one_hot, pixel_sha256


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A FER2013 csv of 14 rows, two for each code in Training."""
    path = tmp_path / "data" / "fer2013.csv"
    path.parent.mkdir()
    _write(path)
    return path


def _write(path: Path, first_value: int = 0) -> None:
    rows = [
        f"{row // 2},{' '.join([str((first_value + row) % 256)] * 2304)},{usage}\n"
        for row, usage in enumerate(["Training"] * 14 + ["PublicTest"] * 2)
        for row in [row % 14]
    ]
    path.write_text("emotion,pixels,Usage\n" + "".join(rows))


def test_known_data_sets_and_names() -> None:
    assert {"fer2013", "ferplus", "folder"} <= set(list_datasets())
    assert not {"samples", "registry", "splits", "pipeline"} & set(list_datasets())
    for name in ("fer2012", "../os", "samples", ""):
        with pytest.raises(DataError, match="Unknown data set"):
            prepare(name)


def test_a_second_load_maps_the_decoded_file(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = load_samples("fer2013", "train", source=source, cache_dir=cache)
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    again = load_samples("fer2013", "train", source=source, cache_dir=cache)
    assert isinstance(again.images, np.memmap)
    np.testing.assert_array_equal(first.images, again.images)
    assert first.fingerprint == again.fingerprint
    assert files == {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    assert first.facts["sha256"][3] == pixel_sha256(np.full((48, 48), 3, np.uint8))


def test_a_second_load_imports_no_training_stack(source: Path, tmp_path: Path) -> None:
    load_samples("fer2013", "train", source=source, cache_dir=tmp_path / "cache")
    code = (
        "import sys, fer_keras.data as d\n"
        f"d.load_samples('fer2013', 'train', source={str(source)!r}, "
        f"cache_dir={str(tmp_path / 'cache')!r})\n"
        "print({'tensorflow', 'keras', 'tensorflow_datasets', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_prepared_folder_is_a_tfds_data_set(source: Path, tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(prepare("fer2013", source, tmp_path / "cache")))
    assert builder.info.splits["train"].num_examples == 14
    assert builder.info.features["label"].names[3] == "happiness"
    assert set(builder.info.features) == {"image", "label", "subject", "source", "sha256"}
    record = builder.as_data_source(split="validation")[1]
    np.testing.assert_array_equal(record["image"], np.full((48, 48, 1), 1))


def test_a_changed_source_is_prepared_anew(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = load_samples("fer2013", "train", source=source, cache_dir=cache)
    time.sleep(0.01)
    _write(source, first_value=100)
    after = load_samples("fer2013", "train", source=source, cache_dir=cache)
    assert after.images[0, 0, 0, 0] == 100
    assert before.images[0, 0, 0, 0] == 0
    assert before.fingerprint != after.fingerprint


def test_size_and_channels(source: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"source": source, "cache_dir": tmp_path / "cache"}
    samples = load_samples("fer2013", "train", image_size=(30, 20), channels=3, **options)
    assert samples.images.shape == (14, 30, 20, 3)
    assert (samples.images[5] == 5).all()
    for wrong in ({"image_size": 0}, {"channels": 2}):
        with pytest.raises(DataError, match="Expected channels 1 or 3"):
            load_samples("fer2013", "train", **options, **wrong)
    with pytest.raises(DataError, match=r"Unknown split 'training'\. Nearest: train"):
        load_samples("fer2013", "training", **options)


def test_a_limit_spreads_over_the_split(source: Path, tmp_path: Path) -> None:
    samples = load_samples("fer2013", "train", source=source, cache_dir=tmp_path / "cache", limit=7)
    assert len(samples) == 7
    assert len(set(samples.labels.tolist())) >= 6


def test_an_interrupted_preparation_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    cache = tmp_path / "cache"
    with monkeypatch.context() as patch:
        patch.setattr(prepared, "_write_json", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare("fer2013", source, cache)
    assert list((cache / "prepared").iterdir()) == []
    prepare("fer2013", source, cache)
    with monkeypatch.context() as patch:
        patch.setattr(prepared.ColumnWriter, "finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load_samples("fer2013", "train", source=source, cache_dir=cache)
    assert list((cache / "decoded").iterdir()) == []
    assert len(load_samples("fer2013", "train", source=source, cache_dir=cache)) == 14


def test_a_killed_preparation_is_not_taken_for_a_whole_one(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    code = (
        "import os, fer_keras.data as d, fer_keras.data.prepared as p\n"
        "p._write_json = lambda *_: os.kill(os.getpid(), 9)\n"
        f"d.prepare('fer2013', {str(source)!r}, {str(cache)!r})"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    (left,) = (cache / "prepared").iterdir()
    assert left.name.startswith(".incomplete-")
    assert len(load_samples("fer2013", "train", source=source, cache_dir=cache)) == 14


def test_abandoned_folders_are_removed_after_a_day(source: Path, tmp_path: Path) -> None:
    import os

    cache = tmp_path / "cache"
    old, young = (cache / "prepared" / f".incomplete-{name}" for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    prepare("fer2013", source, cache)
    assert not old.exists()
    assert young.exists()


def test_two_preparations_at_once(source: Path, tmp_path: Path) -> None:
    """The second to finish finds the folder in its place and takes it."""
    final = tmp_path / "cache" / "prepared" / "x"
    with prepared._written_whole(final) as slow:
        (slow / "file").write_text("slow")
        with prepared._written_whole(final) as quick:
            (quick / "file").write_text("quick")
    assert (final / "file").read_text() == "quick"
    assert [path.name for path in final.parent.iterdir()] == ["x"]


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
@pytest.mark.parametrize("num_bytes", [200, 20_000])
def test_a_full_disk_gives_one_error_and_keeps_what_is_there(
    source: Path, tmp_path: Path, num_bytes: int
) -> None:
    """A limit on the size of files stands for the disk: the write fails the same way."""
    cache = tmp_path / "cache"
    prepare("fer2013", source, cache)
    code = (
        "import resource, sys, fer_keras.data as d\n"
        "import tensorflow_datasets, fer_keras.common.errors\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({num_bytes}, {num_bytes}))\n"
        "try:\n"
        f"    d.load_samples('fer2013', 'train', source={str(source)!r}, "
        f"cache_dir={str(cache)!r})\n"
        "except fer_keras.common.errors.DataError as error:\n"
        "    sys.exit(str(error))"
    )
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Cannot write the cache: File too large.")
    assert str(cache / "decoded") in done.stderr
    assert list((cache / "decoded").iterdir()) == []
    assert len(load_samples("fer2013", "train", source=source, cache_dir=cache)) == 14


def test_a_full_disk_while_preparing(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    code = (
        "import resource, sys, fer_keras.data as d\n"
        "import tensorflow_datasets, fer_keras.common.errors\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\n"
        "try:\n"
        f"    d.prepare('fer2013', {str(source)!r}, {str(cache)!r})\n"
        "except fer_keras.common.errors.DataError as error:\n"
        "    sys.exit(str(error))"
    )
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("Cannot write the cache:"), done.stderr
    assert list((cache / "prepared").iterdir()) == []


def test_a_cache_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"Cannot write the cache: .*FER_KERAS_CACHE"):
        prepare("fer2013", source, tmp_path / "cache")
    assert (tmp_path / "cache").read_text() == "a file where the folder should be"


@pytest.mark.parametrize("name", ["images.npy", "facts/*-sha256.npy", "content.json"])
def test_a_damaged_cache_names_the_folder_to_delete(
    source: Path, tmp_path: Path, name: str
) -> None:
    cache = tmp_path / "cache"
    load_samples("fer2013", "train", source=source, cache_dir=cache)
    (path,) = cache.rglob(name)
    path.write_bytes(path.read_bytes()[:50])
    folder = path.parent.parent if path.parent.name == "facts" else path.parent
    with pytest.raises(DataError, match="Delete this folder and run again") as caught:
        load_samples("fer2013", "train", source=source, cache_dir=cache)
    assert str(caught.value).endswith(str(folder))


def test_damaged_records_name_the_folder_to_delete(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = prepare("fer2013", source, cache)
    (path,) = folder.glob("*train.array_record*")
    data = bytearray(path.read_bytes())
    middle = data.index(b"IDAT") if b"IDAT" in data else len(data) // 2
    data[middle : middle + 8] = b"\0" * 8
    path.write_bytes(data)
    with pytest.raises(DataError, match="Delete this folder and run again") as caught:
        load_samples("fer2013", "train", source=source, cache_dir=cache)
    assert str(folder.parent.parent) in str(caught.value)
    assert list((cache / "decoded").iterdir()) == []


def _samples() -> Samples:
    return Samples(
        name="made",
        split="train",
        class_names=("anger", "fear", "neutral"),
        label_rule="hard",
        images=np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((4, 2, 2, 1), np.uint8),
        targets=one_hot(np.array([2, 0, 2, 1]), 3),
        facts={"source": np.array(list("abcd")), "sha256": np.array(list("wxyz"))},
    )


def test_samples_take_and_count() -> None:
    samples = _samples()
    assert len(samples) == 4
    assert samples.labels.dtype == np.int64
    assert samples.class_counts() == {"anger": 1, "fear": 1, "neutral": 2}
    part = samples.take([3, 0])
    assert part.images[:, 0, 0, 0].tolist() == [3, 0]
    assert part.facts["source"].tolist() == ["d", "a"]
    assert part.fingerprint not in ("", samples.fingerprint)
    assert samples.take(range(4)).fingerprint == samples.fingerprint
    assert samples.take(np.array([True, False, False, True])).labels.tolist() == [2, 1]
    assert len(samples.take([])) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((4, 2, 2), np.uint8)}, "expected images"),
        ({"images": np.zeros((4, 2, 2, 1), np.float32)}, "expected images"),
        ({"targets": np.zeros((4, 2), np.float32)}, r"expected targets \(4, 3\)"),
        ({"facts": {"source": np.array(["a"])}}, "expected 4 values of 'source'"),
    ],
)
def test_samples_that_do_not_fit_together_are_refused(change: dict[str, Any], message: str) -> None:
    from dataclasses import replace

    with pytest.raises(DataError, match=message):
        replace(_samples(), **change)
