"""Pictures named by row number."""

from pathlib import Path

import numpy as np
import pytest

from fer_keras.data import gathered
from fer_keras.data.gathered import GatheredImages, take_images


@pytest.fixture
def mapped(tmp_path: Path) -> np.ndarray:
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((6, 4, 4, 1), np.uint8)
    np.save(tmp_path / "images.npy", images)
    return np.load(tmp_path / "images.npy", mmap_mode="r")


def test_a_small_part_is_copied(mapped: np.ndarray) -> None:
    taken = take_images(mapped, np.array([4, 1]))
    assert isinstance(taken, np.ndarray)
    assert taken[:, 0, 0, 0].tolist() == [4, 1]


def test_a_large_part_of_a_mapped_file_stays_there(
    mapped: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathered, "_LARGEST_COPY_BYTES", 20)
    taken = take_images(mapped, np.array([False, True, True, False, True, True]))
    assert isinstance(taken, GatheredImages)
    assert taken.shape == (4, 4, 4, 1)
    assert taken[[3, 0]][:, 0, 0, 0].tolist() == [5, 1]
    # A part of the part is still row numbers of the one file.
    again = take_images(taken, np.array([2, 0]))
    assert isinstance(again, GatheredImages)
    assert again[:][:, 0, 0, 0].tolist() == [4, 1]
    assert again[1].shape == (4, 4, 1)
    # In memory already: nothing is saved by row numbers.
    assert isinstance(take_images(np.array(mapped), np.arange(5)), np.ndarray)
