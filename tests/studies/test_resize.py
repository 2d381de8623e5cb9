"""The resize study: what a picture looks like after it, and the tables."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.common.opencv import cv2
from fer_keras.studies.resize import PAIRS, PUBLISHED, SIZES, through_size
from fer_keras.study import main

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny_models


def test_the_own_size_changes_nothing() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1), np.uint8)
    for down, up in PAIRS.values():
        np.testing.assert_array_equal(through_size(images, 48, down, up), images)


@pytest.mark.parametrize("channels", [1, 3])
def test_area_averages_and_linear_leaves_out(channels: int) -> None:
    """Rows of 255 every third row: averaged they are all 85, sampled they are all or nothing."""
    stripes = np.zeros((1, 48, 48, channels), np.uint8)
    stripes[:, 1::3] = 255
    averaged = through_size(stripes, 16, *PAIRS["area-cubic"])
    assert averaged.shape == stripes.shape
    assert np.unique(averaged).tolist() == [85]
    # The middle row of each three is what linear sampling hits.
    assert np.unique(through_size(stripes, 16, *PAIRS["linear"])).tolist() == [255]


def test_the_published_rows_belong_to_the_sizes() -> None:
    assert all(len(values) == len(SIZES) for values in PUBLISHED.values())
    assert {values[0] for values in PUBLISHED.values()} == {81.08}  # 112 px: nothing is done
    assert set(PUBLISHED) == set(PAIRS) - {"area-cubic"}


def test_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tiny model says surprise where the left half is brighter than the right one."""
    export = tiny_models.write_export(tmp_path / "export")
    for split in ("train", "validation", "test"):
        for emotion, picture in (
            ("surprise", tiny_models.LEFT),
            ("happiness", tiny_models.BRIGHT),
            ("sadness", tiny_models.DARK),
        ):
            folder = tmp_path / "pictures" / split / emotion
            folder.mkdir(parents=True)
            assert cv2.imwrite(str(folder / "a.png"), picture)
    out = tmp_path / "out"
    words = ["resize", str(export), "--dataset", "folder", "--source", str(tmp_path / "pictures")]
    assert main([*words, "--size", "48", "--output", str(out)]) == 0

    names = sorted(file.name for file in out.iterdir())
    assert names == ["resize.csv", "resize.json", "resize.md", "resize.png"]
    with (out / "resize.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["size"]) for row in rows[:5]] == [48, 32, 28, 16, 14]
    assert len(rows) == 5 * len(PAIRS)
    assert {(row["n"], row["accuracy"]) for row in rows} == {("3", "1.0")}
    assert json.loads((out / "resize.json").read_text())["image_size"] == 48
    shown = capsys.readouterr().out
    assert "| cubic-linear | 0.8130 | 0.7867 | 0.7755 | 0.5793 | 0.5220 |" in shown
    assert shown.count("1.0000") == 2 * 5 * len(PAIRS)

    with pytest.raises(ConfigError, match=r"at least 14\. Received: 10"):
        main([*words, "--size", "10"])
