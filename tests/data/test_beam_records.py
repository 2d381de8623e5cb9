import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_folder import _divided

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.data import beam_records
from fer_keras.data.__main__ import main
from fer_keras.data.load import prepare
from fer_keras.data.prepared import read_content
from fer_keras.data.registry import open_prepared


def test_workers_need_apache_beam(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "apache_beam" else find(name)
    )
    with pytest.raises(ConfigError, match=r"fer_keras\[beam\]"):
        main(["prepare", "folder", "--source", str(tmp_path), "--workers", "2"])
    with pytest.raises(ConfigError, match="1 or more"):
        beam_records.beam_flags(0)


def test_beam_writes_the_same_records_in_the_same_order(tmp_path: Path) -> None:
    pytest.importorskip("apache_beam")
    source = _divided(tmp_path / "pictures")
    plain = prepare("folder", source, tmp_path / "plain")
    flags = beam_records.beam_flags(1)
    beamed = prepare("folder", source, tmp_path / "beam", beam=flags)
    assert read_content(beamed) == read_content(plain)
    for split, count in read_content(plain).counts.items():
        one, other = (
            open_prepared(folder, split).__getitems__(list(range(count)))
            for folder in (plain, beamed)
        )
        for first, second in zip(one, other, strict=True):
            assert first == second
    assert {path.name for path in beamed.parent.parent.iterdir()} == {"content.json", "folder"}


def test_workers_list_every_unreadable_picture(tmp_path: Path) -> None:
    pytest.importorskip("apache_beam")
    source = _divided(tmp_path / "pictures")
    pictures = sorted(source.glob("train/*/*"))
    for path in (pictures[0], pictures[-1]):
        path.write_bytes(b"no picture")
    assert cv2.imread(str(pictures[1])) is not None
    with pytest.raises(DataError, match="2 pictures") as caught:
        prepare("folder", source, tmp_path / "cache", beam=beam_records.beam_flags(1))
    assert all(str(path) in str(caught.value) for path in (pictures[0], pictures[-1]))
    assert not np.any([path.is_dir() for path in (tmp_path / "cache" / "prepared").iterdir()])
