"""Bulk prediction: the same rows as the ordinary command, in shards that survive interruptions."""

import csv
import os
import signal
import sys
import tracemalloc
from itertools import repeat
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_models import BRIGHT, CLASS_NAMES, DARK, LEFT, write_export

from fer_keras import predict
from fer_keras.common.errors import ConfigError, DataError, FerKerasError, ModelFileError
from fer_keras.runtime.bulk import predict as bulk
from fer_keras.runtime.bulk import shard_reader
from fer_keras.runtime.bulk.shard_reader import ReadSettings, ShardCounts, ShardReader, read_shards
from fer_keras.runtime.bulk.shards import Listing, Plan, Shard, open_plan

parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")

NUM_PICTURES = 10
COLUMNS = [
    "path", "face", "x", "y", "width", "height", "dominant", "score", "unsure", "label_set",
    *CLASS_NAMES, "yaw", "pitch", "roll", "quality", "valence", "arousal",
    "error",
]  # fmt: skip


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("models") / "export")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight ready crops and two files that cannot be read, in a tree with other files."""
    folder = tmp_path_factory.mktemp("bulk") / "pictures"
    (folder / "b" / "c").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for number in range(8):
        place = folder / ["", "b", "b/c"][number % 3] / f"{number}.png"
        cv2.imwrite(str(place), [BRIGHT, DARK, LEFT][number % 3])
    (folder / "b" / "line\nbreak.JPG").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:60])
    for other in ("notes.txt", ".hidden/h.png", "._0.png"):
        (folder / other).write_text("x")
    return folder


@pytest.fixture
def arguments(export: Path, pictures: Path, tmp_path: Path) -> list[str]:
    """Four shards, the last one smaller."""
    options = ["--model", str(export), "--detector", "none", "--shard-size", "3"]
    return [str(pictures), *options, "--output-dir", str(tmp_path / "out")]


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return list(parquet.read_table(folder).to_pylist())


def parts(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith("_"))


def test_same_rows_as_the_ordinary_command(
    export: Path,
    pictures: Path,
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert predict.main(arguments) == 0
    said = capsys.readouterr().err
    expected = "8 faces in 8 pictures, 2 unreadable, 1 file of other types passed over"
    assert f"{expected} -> {tmp_path / 'out'}" in said
    assert "10 of 10 pictures (100%)" in said
    assert parts(tmp_path / "out") == [f"part-0000{number}.parquet" for number in range(4)]
    rows = sorted(rows_in(tmp_path / "out"), key=lambda row: Path(row["path"]))
    assert list(rows[0]) == COLUMNS
    unreadable = [row for row in rows if row["error"] is not None]
    assert [Path(row["path"]).name for row in unreadable] == ["line\nbreak.JPG", "cut.png"]
    assert "truncated or corrupt" in unreadable[1]["error"]
    assert {value for row in unreadable for value in list(row.values())[1:-1]} == {None}

    ordinary = tmp_path / "faces.csv"
    given = [str(pictures), "--model", str(export), "--detector", "none"]
    assert predict.main([*given, "--output", str(ordinary)]) == 2
    with ordinary.open(newline="") as stream:
        wanted = list(csv.DictReader(stream))
    faces = [row for row in rows if row["error"] is None]
    assert [row["path"] for row in faces] == [row["path"] for row in wanted]
    for row, other in zip(faces, wanted, strict=True):
        for column in ("face", "dominant", "label_set"):
            assert str(row[column]) == other[column]
        assert str(row["unsure"]).lower() == other["unsure"]
        for column, digits in {
            "x": 1,
            "width": 1,
            "score": 4,
            "happiness": 6,
            "neutral": 6,
        }.items():
            assert f"{row[column]:.{digits}f}" == other[column]


def test_picture_without_a_face_is_a_row(export: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((100, 120, 3), 90, np.uint8))
    out = tmp_path / "out"
    given = [str(tmp_path / "wall.png"), "--model", str(export), "--output-dir", str(out)]
    assert predict.main(given) == 0
    (row,) = rows_in(out)
    assert row.pop("path") == str(tmp_path / "wall.png")
    assert set(row.values()) == {None}


def test_interrupted_run_goes_on(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    read: list[str] = []
    detect_and_crop = shard_reader.Recognizer.detect_and_crop

    def interrupted(self: Any, path: Any) -> Any:
        # In the middle of the third shard.
        if len(read) == 7:
            raise KeyboardInterrupt
        read.append(str(path))
        return detect_and_crop(self, path)

    monkeypatch.setattr(shard_reader.Recognizer, "detect_and_crop", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict.main(arguments)
    said = capsys.readouterr().err
    assert (
        f"stopped with 2 of 4 shards done; the same command goes on with the others: {out}" in said
    )
    assert parts(out) == ["part-00000.parquet", "part-00001.parquet"]
    # What a kill would leave behind, and a shard that a disk has lost the end of.
    (out / ".part-00002.1.tmp.parquet").write_bytes(b"PAR1")
    whole = (out / "part-00001.parquet").read_bytes()
    (out / "part-00001.parquet").write_bytes(whole[:-20])
    first = (out / "part-00000.parquet").stat().st_mtime_ns

    monkeypatch.setattr(shard_reader.Recognizer, "detect_and_crop", detect_and_crop)
    assert predict.main(arguments) == 0
    said = capsys.readouterr().err
    assert "going on: 1 of 4 shards are done" in said
    assert "8 faces in 8 pictures, 2 unreadable" in said
    assert len(parts(out)) == 4
    assert (out / "part-00000.parquet").stat().st_mtime_ns == first
    assert len({row["path"] for row in rows_in(out)}) == len(rows_in(out)) == NUM_PICTURES

    # All is done: nothing is read again.
    monkeypatch.setattr(shard_reader.Recognizer, "detect_and_crop", None)
    assert predict.main(arguments) == 0
    assert "8 faces in 8 pictures" in capsys.readouterr().err


def test_rows_of_two_commands_are_not_mixed(
    arguments: list[str], export: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert predict.main(arguments) == 0
    with pytest.raises(ConfigError, match="shard_size was 3, now 4"):
        predict.main([*arguments, "--shard-size", "4"])
    with pytest.raises(ConfigError, match="detector was 'none', now 'haar'"):
        predict.main([*arguments, "--detector", "haar"])
    with pytest.raises(ConfigError, match="model_sha256 was"):
        predict.main([*arguments, "--precision", "int8"])
    with pytest.raises(ConfigError, match="paths was"):
        predict.main([str(pictures / "b"), *arguments[1:]])
    with bulk._locked(out), pytest.raises(ConfigError, match="another run is at work"):
        predict.main(arguments)
    # Another run's file in place of one of ours is read again.
    other = [str(pictures / "b"), *arguments[1:-1], str(tmp_path / "other")]
    assert predict.main(other) == 0
    os.replace(tmp_path / "other" / "part-00001.parquet", out / "part-00001.parquet")
    assert predict.main(arguments) == 0
    assert len({row["path"] for row in rows_in(out)}) == NUM_PICTURES


def test_model_of_the_plan_is_asked_for_everywhere(
    export: Path, pictures: Path, tmp_path: Path
) -> None:
    settings = ReadSettings(str(export), detector="none")
    plan = open_plan(tmp_path, Listing([pictures]), settings.facts(), 3)
    with pytest.raises(ModelFileError, match="not the one that the run began with"):
        ShardReader(plan, ReadSettings(str(export), "int8", "none")).setup()


def test_wrong_arguments(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    for option in (["--output", "faces.csv"], ["--report", "r.html"], ["--format", "csv"]):
        with pytest.raises(ConfigError, match=f"Leave out {option[0]}"):
            predict.main([*arguments, *option])
    with pytest.raises(ConfigError, match="received a video"):
        predict.main(["talk.mp4", *arguments])
    with pytest.raises(ConfigError, match="received neither"):
        predict.main(arguments[1:])
    with pytest.raises(SystemExit):
        predict.main(["--list", "list.txt"])
    with pytest.raises(DataError, match=r"found nothing.*missing"):
        predict.main([str(tmp_path / "missing"), *arguments])
    with pytest.raises(ConfigError, match="Leave out --save-images"):
        predict.main([*arguments, "--save-images", str(tmp_path / "drawn")])
    with pytest.raises(ConfigError, match="received a file"):
        predict.main([*arguments, "--output-dir", arguments[0] + "/notes.txt"])
    with pytest.raises(ConfigError, match="unknown face detector"):
        predict.main([*arguments, "--detector", "yolo"])
    out.mkdir(exist_ok=True)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        patch.delitem(sys.modules, "pyarrow.parquet")
        with pytest.raises(ConfigError, match=r"pip install 'fer_keras\[bulk\]'"):
            predict.main(arguments)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"'thesis\.txt' in it"):
        predict.main([*arguments, "--output-dir", str(tmp_path / "full")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no picture found"):
        predict.main([str(tmp_path / "empty"), *arguments[1:-1], str(tmp_path / "new")])


def test_damaged_plan_is_told(arguments: list[str], tmp_path: Path) -> None:
    assert predict.main(arguments) == 0
    plan = tmp_path / "out" / "_plan.json"
    whole = plan.read_text()
    plan.write_text(whole[:-9])
    with pytest.raises(DataError, match="the plan is damaged"):
        predict.main(arguments)
    plan.write_text(whole)
    with (tmp_path / "out" / "_pictures").open("ab") as stream:
        stream.write(b"more\0")
    with pytest.raises(DataError, match="not that of the plan"):
        predict.main(arguments)


def test_list_of_paths(pictures: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"\xef\xbb\xbfa.png\r\n\nb c.jpg\n\xff.png")
    plan = open_plan(_folder(tmp_path / "out"), Listing([], listed), {}, 2)
    assert [len(plan.pictures(shard)) for shard in plan.shards] == [2, 1]
    found = [os.fsencode(path) for shard in plan.shards for path in plan.pictures(shard)]
    assert found == [b"a.png", b"b c.jpg", b"\xff.png"]
    # The list may go on elsewhere: a shard keeps its pictures.
    listed.write_text("other.png\n")
    assert open_plan(tmp_path / "out", Listing([], listed), {}, 2) == plan
    listed.write_bytes(b"a.png\0b.png\0")
    with pytest.raises(DataError, match="NUL byte"):
        list(Listing([], listed))
    with pytest.raises(DataError, match="received a folder"):
        Listing([], pictures)


def test_memory_does_not_grow_with_the_list(tmp_path: Path) -> None:
    """Names of 5 MB are planned in the memory of a shard."""
    listed, num_names = tmp_path / "list.txt", 50_000
    with listed.open("w") as stream:
        stream.writelines(f"{'x' * 90}{number:09d}\n" for number in range(num_names))
    listing = Listing([], listed)
    tracemalloc.start()
    plan = open_plan(_folder(tmp_path / "out"), listing, {}, 1000)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert plan.num_pictures == num_names
    assert listed.stat().st_size == 5_000_000
    assert peak_bytes < 500_000


class _Failing(ShardReader):
    """Reads the shards but one, at which its process ends as the subclass says."""

    def setup(self) -> None:
        """Needs no model."""

    def read(self, shard: Shard) -> ShardCounts:
        if shard.number == 1:
            self.fail()
        return ShardCounts(pictures=1)

    def fail(self) -> None:
        raise ModelFileError("the model fails")


class _Killed(_Failing):
    def fail(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("kind", "message"), [(_Failing, "^the model fails$"), (_Killed, "ended with code -9")]
)
def test_fault_of_a_process_ends_the_run(
    kind: type[_Failing], message: str, tmp_path: Path
) -> None:
    shards = tuple(Shard(number, 0, 0, 1) for number in range(3))
    reader = kind(Plan(tmp_path, {}, shards, 0), ReadSettings())
    with pytest.raises(FerKerasError, match=message):
        read_shards(reader, shards, 2, lambda counts: None)


def test_two_processes(arguments: list[str], tmp_path: Path) -> None:
    assert predict.main([*arguments, "--processes", "2"]) == 0
    rows = rows_in(tmp_path / "out")
    assert predict.main([*arguments[:-1], str(tmp_path / "one")]) == 0
    assert rows == rows_in(tmp_path / "one")


def test_beam_reads_the_same_rows(arguments: list[str], tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="needs apache-beam")
    assert predict.main([*arguments, "--beam-flag=--direct_running_mode=in_memory"]) == 0
    rows = rows_in(tmp_path / "out")
    assert predict.main([*arguments[:-1], str(tmp_path / "one")]) == 0
    assert rows == rows_in(tmp_path / "one")


def test_opencv_failure_is_a_row(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> None:
        raise cv2.error("(-215:Assertion failed)\nin a file")

    monkeypatch.setattr(shard_reader.Recognizer, "detect_and_crop", fail)
    assert predict.main(arguments) == 0
    errors = [row["error"] for row in rows_in(tmp_path / "out")]
    assert errors == list(repeat("(-215:Assertion failed) in a file", NUM_PICTURES))


def test_progress(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 5,000 pictures 2,000 were read before; a shard of 500 takes ten seconds."""
    now_s = 100.0
    monkeypatch.setattr(bulk.time, "monotonic", lambda: now_s)
    progress = bulk.Progress(5000, 3000)
    for _ in range(6):
        now_s += 10
        progress.add(ShardCounts(pictures=499, unreadable=1))
    assert capsys.readouterr().err.splitlines() == [
        "2,500 of 5,000 pictures (50%), 50.0 pictures/s, 00:50 left",
        "4,000 of 5,000 pictures (80%), 50.0 pictures/s, 00:20 left",
        "5,000 of 5,000 pictures (100%), 50.0 pictures/s, 00:00 left",
    ]


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
