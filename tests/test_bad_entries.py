"""A folder that may not be entered, a link in a circle: said in one line, and the rest is read."""

import errno
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_models import BRIGHT, DARK, write_export

from fer_keras import camera, predict
from fer_keras.common.errors import DataError
from fer_keras.data.__main__ import main as data
from fer_keras.data.datasets.class_folders import read_class_folders

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_export(tmp_path_factory.mktemp("models") / "export"))


def close(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `chmod 000` for a user; root, who runs the tests in containers, would not notice that."""
    scandir, listdir, stat = os.scandir, os.listdir, os.stat

    def refuse(path: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def is_closed(path: Any) -> bool:
        return not isinstance(path, int) and Path(os.fsdecode(path)) == folder

    def scandir_or_refuse(path: Any = ".") -> Any:
        return refuse(path) if is_closed(path) else scandir(path)

    def listdir_or_refuse(path: Any = ".") -> Any:
        return refuse(path) if is_closed(path) else listdir(path)

    def stat_or_refuse(path: Any, **settings: Any) -> Any:
        inside = isinstance(path, str | os.PathLike) and folder in Path(path).parents
        return refuse(path) if inside else stat(path, **settings)

    monkeypatch.setattr(os, "scandir", scandir_or_refuse)
    monkeypatch.setattr(os, "listdir", listdir_or_refuse)
    monkeypatch.setattr(os, "stat", stat_or_refuse)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pictures, a folder that may not be entered, a link to itself and one back up."""
    root = tmp_path / "pictures"
    (root / "secret").mkdir(parents=True)
    for name, face in (("a", BRIGHT), ("b", DARK), ("secret/c", DARK)):
        cv2.imwrite(str(root / f"{name}.png"), np.asarray(face))
    (root / "self").symlink_to("self")
    (root / "up").mkdir()
    (root / "up" / "again").symlink_to(root)
    close(root / "secret", monkeypatch)
    return root


def test_predict(export: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", export, "--detector", "none"]
    assert predict.main([str(folder), *arguments]) == 2
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 1 + 2
    assert f"cannot be read (Permission denied): {folder}/secret\n" in said.err
    assert f"cannot be read (Too many levels of symbolic links): {folder}/self\n" in said.err
    # Named one by one.
    paths = [str(folder / name) for name in ("secret", "secret/c.png", "a.png")]
    assert predict.main([*paths, *arguments]) == 2
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 1 + 1
    assert "1 face in 1 picture, 2 unreadable" in said.err


def test_bulk(
    export: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(folder), str(folder / "secret" / "c.png"), "--model", export]
    arguments += ["--detector", "none", "--output-dir", str(tmp_path / "out")]
    assert predict.main(arguments) == 2
    assert "2 faces in 2 pictures, 3 unreadable" in capsys.readouterr().err
    # The same when there is nothing left to read.
    assert predict.main(arguments) == 2
    assert "2 faces in 2 pictures, 3 unreadable" in capsys.readouterr().err


def test_camera(export: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "aa.png").symlink_to("aa.png")
    (folder / "ab.png").write_bytes(b"no picture")
    arguments = ["--source", str(folder), "--model", export, "--detector", "none", "--no-window"]
    assert camera.main([*arguments, "--fps", "10"]) == 2
    rows = capsys.readouterr().out.splitlines()[1:]
    # The others keep their places in the film.
    assert [row.split(",")[:2] for row in rows] == [["0", "0.000"], ["3", "0.300"]]


def test_crop(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "crops"
    arguments = ["crop", str(folder), "--out", str(out), "--detector", "none"]
    assert data(arguments) == 2
    assert (
        f"error: cannot be read (Permission denied): {folder}/secret\n" in capsys.readouterr().err
    )
    assert sorted(path.name for path in (out / "pictures").iterdir()) == ["a.png", "b.png"]


def test_class_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set is refused as a whole, with all its faults in one list."""
    for name in ("happy", "sad", "angry"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "1.png"), np.asarray(BRIGHT))
    (tmp_path / "self").symlink_to("self")
    close(tmp_path / "sad", monkeypatch)
    faults: list[str] = []
    classes = read_class_folders(tmp_path, faults)
    assert [len(files) for files in classes.values()] == [1, 1, 0]
    assert len(faults) == 2
    assert f"{tmp_path}/sad: cannot be read as a folder: Permission denied" in faults
    assert any(fault.startswith(f"{tmp_path}/self: ") for fault in faults)


def test_a_closed_source_is_not_called_a_full_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    (source / "happy").mkdir(parents=True)
    close(source, monkeypatch)
    monkeypatch.setenv("FER_KERAS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=rf"data set cannot be read: Permission denied: {source}"):
        data(["audit", "folder", "--source", str(source)])
