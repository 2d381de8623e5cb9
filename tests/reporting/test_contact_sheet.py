"""The sheet of faces that a model reads rightly and wrongly."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_keras.data.samples import Samples
from fer_keras.reporting.contact_sheet import plot_contact_sheet

_BRIGHT, _DARK = 255, 40


def make_samples(shape: tuple[int, ...], shown: int | None) -> Samples:
    """Four bright faces and four dark ones; in pairs and clips only `shown` has the brightness."""
    images = np.full((8, *shape), 128, np.uint8)
    values = np.repeat([_BRIGHT, _DARK], 4).astype(np.uint8)
    for image, value in zip(images, values, strict=True):
        if shown is None:
            image[:] = value
        else:
            image[shown] = value
    targets = np.eye(2, dtype=np.float32)[np.arange(8) % 2]
    facts = {"sha256": np.array([f"{i:064x}" for i in range(8)])}
    return Samples("drawn", "validation", ("calm", "glad"), "hard", images, targets, facts)


@pytest.mark.parametrize(
    ("shape", "shown"), [((24, 24, 1), None), ((24, 24, 3), None), ((2, 24, 24, 1), 1),
                         ((3, 24, 24, 1), 0)]
)  # fmt: skip
def test_right_ones_are_on_the_left(
    tmp_path: Path, shape: tuple[int, ...], shown: int | None
) -> None:
    samples = make_samples(shape, shown)
    # Bright faces are read rightly, dark ones wrongly.
    wrong = np.arange(8) >= 4
    answers = np.where(wrong, 1 - samples.labels, samples.labels)
    probabilities = np.where(np.eye(2, dtype=bool)[answers], 0.8, 0.2)
    path = tmp_path / "sheet.png"
    plot_contact_sheet(samples, probabilities, path, title="four of eight")
    sheet = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    dark_columns = np.flatnonzero((np.abs(sheet.astype(int) - _DARK) < 3).sum(axis=0) > 100)
    # Two classes with two mistakes each: two squares below each other, right of the middle.
    assert len(dark_columns) > 100
    assert dark_columns.min() > sheet.shape[1] / 2


def test_a_class_without_right_answers_has_its_row(tmp_path: Path) -> None:
    samples = make_samples((24, 24, 1), None)
    probabilities = np.tile([0.9, 0.1], (8, 1))
    plot_contact_sheet(samples, probabilities, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 1000
