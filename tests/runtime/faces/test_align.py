"""Crops and alignment: geometry by hand, borders, and landmarks that land on the template."""

import math

import cv2
import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.runtime.faces import align_face, clip_box, crop_face, similarity_transform
from fer_keras.runtime.faces.align import TEMPLATE, square_box


def numbered(height: int = 20, width: int = 30) -> np.ndarray:
    """A picture whose pixel values tell row and column."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((2, 3, 4, 5), (2, 3, 4, 5)),
        ((-2, -3, 10, 10), (0, 0, 8, 7)),
        ((25, 15, 10, 10), (25, 15, 5, 5)),
        ((-50, 2, 10, 10), (0, 2, 0, 10)),
        ((40, 30, 5, 5), (30, 20, 0, 0)),
    ],
)
def test_clip_box(box: tuple[float, ...], expected: tuple[float, ...]) -> None:
    assert clip_box(box, (20, 30)) == expected


def test_square_box() -> None:
    assert square_box((10, 10, 4, 8)) == (8, 10, 8, 8)
    assert square_box((10, 10, 4, 8), 0.25) == (6, 8, 12, 12)


def test_crop_inside() -> None:
    picture = numbered()
    assert (crop_face(picture, (4, 6, 8, 8)) == picture[6:14, 4:12]).all()
    assert (crop_face(picture, (6, 6, 4, 8)) == picture[6:14, 4:12]).all()
    assert (crop_face(picture, (6, 8, 4, 4), margin=0.5) == picture[6:14, 4:12]).all()
    assert (crop_face(picture, (6, 6, 4, 8), margin=None) == picture[6:14, 6:10]).all()
    assert crop_face(picture[:, :, 0], (4, 6, 8, 8), size=(5, 7)).shape == (5, 7)


def test_crop_over_the_border_repeats_it() -> None:
    picture = numbered()
    crop = crop_face(picture, (-3, -2, 8, 8))
    expected = np.pad(picture, ((2, 0), (3, 0), (0, 0)), mode="edge")[:8, :8]
    assert (crop == expected).all()
    crop = crop_face(picture, (26, 16, 8, 8))
    expected = np.pad(picture, ((0, 4), (0, 4), (0, 0)), mode="edge")[16:, 26:]
    assert (crop == expected).all()
    assert crop_face(picture, (0, 0, 30, 20)).shape == (30, 30, 3)


def test_tiny_boxes() -> None:
    picture = numbered()
    assert crop_face(picture, (29.9, 19.9, 5, 5)).shape[0] >= 5
    assert crop_face(picture, (7.2, 7.2, 0.1, 0.1)).tolist() == [[[7, 7, 0]]]


@pytest.mark.parametrize(
    "box", [(40, 5, 5, 5), (5, 5, 0, 5), (5, 5, -3, 5), (math.nan, 0, 5, 5), (0, 0, math.inf, 5)]
)
def test_boxes_without_a_face(box: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="30 x 20"):
        crop_face(numbered(), box)


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1), (30, 2), (-135, 0.4)])
def test_similarity_transform_is_recovered(degrees: float, scale: float) -> None:
    angle = math.radians(degrees)
    turn = scale * np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    matrix = similarity_transform(TEMPLATE, TEMPLATE @ turn.T + (5, -7))
    assert np.abs(matrix - np.column_stack([turn, (5, -7)])).max() < 1e-9


def test_similarity_transform_has_the_least_error() -> None:
    generator = np.random.default_rng(0)
    target = TEMPLATE + generator.normal(0, 3, (5, 2))
    matrix = similarity_transform(TEMPLATE, target)

    def error(m: np.ndarray) -> float:
        return float(((TEMPLATE @ m[:, :2].T + m[:, 2] - target) ** 2).sum())

    # The four numbers of a similarity: scale and turn, and the shift.
    directions = np.zeros((4, 2, 3))
    directions[0, [0, 1], [0, 1]] = 1
    directions[1, [0, 1], [1, 0]] = (-1, 1)
    directions[2, 0, 2] = directions[3, 1, 2] = 1
    for direction in directions:
        for step in (1e-3, -1e-3):
            assert error(matrix + step * direction) > error(matrix)


def test_similarity_transform_never_mirrors() -> None:
    matrix = similarity_transform(TEMPLATE, TEMPLATE * (-1, 1))
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize(
    "points", [np.zeros((5, 2)), np.full((5, 2), np.nan), TEMPLATE[:3], TEMPLATE[:, :1]]
)
def test_unusable_landmarks(points: np.ndarray) -> None:
    with pytest.raises(DataError, match="landmarks"):
        align_face(numbered(), points)


def dots(points: np.ndarray, side: int, radius: int) -> np.ndarray:
    picture = np.zeros((side, side), np.uint8)
    for x, y in points:
        cv2.circle(picture, (round(x), round(y)), radius, 255, -1)
    return picture


@pytest.mark.parametrize("size", [48, 112, 224])
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_aligned_landmarks_lie_on_the_template(size: int, scale: float) -> None:
    turn = np.array([[math.cos(0.6), -math.sin(0.6)], [math.sin(0.6), math.cos(0.6)]])
    points = np.rint((TEMPLATE - 56) @ turn.T * scale + 56 * scale * 1.5)
    picture = dots(points, round(56 * 3 * scale), round(2.5 * scale))
    aligned = align_face(picture, points, size)
    assert aligned.shape == (size, size)
    assert align_face(np.repeat(picture[:, :, None], 3, 2), points, size).shape == (size, size, 3)
    for x, y in TEMPLATE * size / 112:
        reach = round(6 * size / 112)
        left, top = round(x) - reach, round(y) - reach
        window = aligned[top : round(y) + reach + 1, left : round(x) + reach + 1].astype(float)
        rows, columns = np.mgrid[0 : window.shape[0], 0 : window.shape[1]]
        found = np.array([(window * columns).sum(), (window * rows).sum()]) / window.sum()
        assert np.abs(found + np.array([left - x, top - y])).max() < 0.5 + 0.3 * size / 112


def test_strong_reduction_averages() -> None:
    stripes = np.zeros((1120, 1120), np.uint8)
    stripes[:, ::2] = 200
    aligned = align_face(stripes, TEMPLATE * 10, 112)
    assert np.abs(aligned[5:-5, 5:-5].astype(int) - 100).max() < 30
