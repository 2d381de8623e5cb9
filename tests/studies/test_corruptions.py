"""Corruptions: what each one does to pixels, and that a seed repeats it."""

import numpy as np
import numpy.typing as npt
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.data.datasets.synthetic_faces import generate
from fer_keras.studies.robustness.corruptions import (
    CORRUPTIONS,
    NUM_SEVERITIES,
    STANDARD_POINTS,
    corrupt,
)

SEVERITIES = range(1, NUM_SEVERITIES + 1)
RANDOM = {
    "light_gradient", "gamma", "rotation", "perspective", "random_box", "gaussian_noise",
}  # fmt: skip


@pytest.fixture(scope="module")
def faces() -> npt.NDArray[np.uint8]:
    return np.stack([face.image for face in generate(8, seed=3)])


def _at(point: str, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    name, severity = STANDARD_POINTS[point]
    return corrupt(images, name, severity)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_is_seeded_and_grows_worse(name: str, faces: npt.NDArray[np.uint8]) -> None:
    before = faces.copy()
    distances = []
    for severity in SEVERITIES:
        result = corrupt(faces, name, severity, seed=1)
        assert result.dtype == np.uint8
        assert result.shape == faces.shape
        np.testing.assert_array_equal(result, corrupt(faces, name, severity, seed=1))
        distances.append(np.abs(result.astype(float) - faces).mean())
    np.testing.assert_array_equal(faces, before)
    assert distances[0] > 0
    assert distances == sorted(distances)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_picture_depends_on_its_number_and_not_on_the_block(
    name: str, faces: npt.NDArray[np.uint8]
) -> None:
    whole = corrupt(faces, name, 3, seed=1)
    np.testing.assert_array_equal(corrupt(faces[5:], name, 3, seed=1, first_index=5), whole[5:])
    other = corrupt(faces, name, 3, seed=2)
    assert np.array_equal(other, whole) == (name not in RANDOM)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_colour_pictures_and_other_sizes(name: str, faces: npt.NDArray[np.uint8]) -> None:
    red = np.repeat(faces[:2], 2, axis=1).repeat(2, axis=2) * np.array([1, 0, 0], np.uint8)
    result = corrupt(red, name, 1)
    assert result.shape == (2, 96, 96, 3)
    channels = result.reshape(-1, 3).mean(axis=0)
    assert channels[0] > 2 * channels[1:].max()


def test_the_promised_points_have_their_values() -> None:
    values = {
        point: (name, CORRUPTIONS[name].values[severity - 1])
        for point, (name, severity) in STANDARD_POINTS.items()
    }
    assert values == {
        "24 px": ("low_resolution", 24),
        "blur sigma 1.5": ("gaussian_blur", 1.5),
        "light x0.4": ("light", 0.4),
        "rotation 20 degrees": ("rotation", 20),
        "mouth hidden": ("mouth_hidden", 16),
        "eyes hidden": ("eyes_hidden", 12),
        "16 px": ("low_resolution", 16),
    }


def test_low_resolution_loses_what_is_smaller_than_a_pixel() -> None:
    fine = np.indices((48, 48)).sum(axis=0) % 2 * 200
    flat = _at("24 px", fine.astype(np.uint8)[None, :, :, None])
    assert np.ptp(flat) == 0
    assert flat[0, 0, 0, 0] == 100


def test_pixelation_gives_squares(faces: npt.NDArray[np.uint8]) -> None:
    squares = corrupt(faces, "pixelation", 1)  # 24 px: squares of 2 x 2
    np.testing.assert_array_equal(squares[:, ::2, ::2], squares[:, 1::2, 1::2])
    means = faces.astype(float).reshape(-1, 24, 2, 24, 2).mean(axis=(2, 4))
    assert np.abs(squares[:, ::2, ::2, 0] - means).max() <= 1


def test_blur_has_its_sigma(faces: npt.NDArray[np.uint8]) -> None:
    from scipy.ndimage import gaussian_filter

    expected = gaussian_filter(faces[0, :, :, 0].astype(float), 1.5, mode="mirror", truncate=6)
    assert np.abs(_at("blur sigma 1.5", faces)[0, :, :, 0] - expected).max() < 1.6
    # Twice the size, twice the sigma: the same face looks the same.
    large = faces.repeat(2, axis=1).repeat(2, axis=2)
    expected = gaussian_filter(large[0, :, :, 0].astype(float), 3, mode="mirror", truncate=6)
    assert np.abs(_at("blur sigma 1.5", large)[0, :, :, 0] - expected).max() < 1.6


def test_light_is_a_factor(faces: npt.NDArray[np.uint8]) -> None:
    np.testing.assert_allclose(_at("light x0.4", faces), 0.4 * faces.astype(float), atol=0.51)


def test_gamma_goes_both_ways(faces: npt.NDArray[np.uint8]) -> None:
    grey = np.full((40, 48, 48, 1), 128, np.uint8)
    levels = set(corrupt(grey, "gamma", 3)[:, 0, 0, 0].tolist())
    assert levels == {round(255 * (128 / 255) ** 2), round(255 * (128 / 255) ** 0.5)}


def test_contrast_keeps_the_mean(faces: npt.NDArray[np.uint8]) -> None:
    flat = corrupt(faces, "contrast", 5)
    axes = (1, 2, 3)
    np.testing.assert_allclose(flat.mean(axis=axes), faces.mean(axis=axes), atol=0.3)
    np.testing.assert_allclose(flat.std(axis=axes), 0.2 * faces.std(axis=axes), rtol=0.02)


def test_light_falls_from_one_edge_to_the_other() -> None:
    white = np.full((40, 48, 48, 1), 200, np.uint8)
    edges = set()
    for picture in corrupt(white, "light_gradient", 5)[..., 0]:
        ends = {
            "top": picture[0].max(), "bottom": picture[-1].max(),
            "left": picture[:, 0].max(), "right": picture[:, -1].max(),
        }  # fmt: skip
        darkest = min(ends, key=lambda edge: int(ends[edge]))
        assert ends[darkest] == 20
        assert picture.max() == 200
        edges.add(darkest)
    assert edges == {"top", "bottom", "left", "right"}


def test_rotation_turns_by_its_angle() -> None:
    dot = np.zeros((40, 48, 48, 1), np.uint8)
    dot[:, 23:25, 38:40] = 255  # right of the centre (23.5, 23.5)
    y, x = np.indices((48, 48)) - 23.5
    angles = []
    for picture in _at("rotation 20 degrees", dot)[..., 0].astype(float):
        angles.append(np.degrees(np.arctan2((picture * y).sum(), (picture * x).sum())))
    np.testing.assert_allclose(np.abs(angles), 20, atol=0.5)
    assert {-1, 1} == set(np.sign(angles))


def test_perspective_shortens_one_edge() -> None:
    frame = np.zeros((60, 48, 48, 1), np.uint8)
    frame[:, 8:40, 8:40] = 255
    widths = set()
    for picture in corrupt(frame, "perspective", 5)[..., 0] > 127:
        rows, columns = picture.sum(axis=1), picture.sum(axis=0)
        rows, columns = rows[rows > 0], columns[columns > 0]
        # Of one pair of opposite edges, one is clearly shorter than the other.
        for pair, ends in (("rows", rows[[1, -2]]), ("columns", columns[[1, -2]])):
            if ends.min() < 0.8 * ends.max():
                widths.add((pair, int(ends.argmin())))
    assert widths == {("rows", 0), ("rows", 1), ("columns", 0), ("columns", 1)}


@pytest.mark.parametrize(
    ("point", "top", "bottom"), [("eyes hidden", 12, 24), ("mouth hidden", 32, 48)]
)
def test_a_band_is_hidden(point: str, top: int, bottom: int, faces: npt.NDArray[np.uint8]) -> None:
    for scale in (1, 2):
        images = faces.repeat(scale, axis=1).repeat(scale, axis=2)
        result = _at(point, images)
        band = slice(top * scale, bottom * scale)
        expected = np.rint(images.mean(axis=(1, 2), keepdims=True))
        np.testing.assert_array_equal(result[:, band], np.broadcast_to(
            expected, result[:, band].shape))  # fmt: skip
        np.testing.assert_array_equal(
            np.delete(result, np.r_[band], axis=1), np.delete(images, np.r_[band], axis=1)
        )


def test_the_bands_lie_where_faces_have_eyes_and_mouth() -> None:
    eyes, mouths = [], []
    for face in generate(200, seed=5):
        eyes.append(face.landmarks[:2, 1].mean())
        mouths.append(face.landmarks[3:, 1].mean())
    assert 12 <= np.median(eyes) <= 24
    assert 32 <= np.median(mouths) <= 48


def test_a_random_box_covers_its_share() -> None:
    black_and_white = np.indices((48, 48)).sum(axis=0) % 2 * 255
    images = np.repeat(black_and_white.astype(np.uint8)[None, :, :, None], 50, axis=0)
    tops = set()
    for picture in corrupt(images, "random_box", 4)[..., 0]:
        values, counts = np.unique(picture, return_counts=True)
        box = values[counts == 26 * 26]  # 30 % of 48 x 48 is 26.3 squared
        if len(box):
            tops.add(int(np.argwhere(picture == box[0])[0][0]))
    assert len(tops) > 10


def test_noise_has_its_sigma() -> None:
    grey = np.full((20, 48, 48, 1), 128, np.uint8)
    noise = corrupt(grey, "gaussian_noise", 3).astype(float) - 128
    assert abs(noise.std() - 15) < 0.3
    assert abs(noise.mean()) < 0.3
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("blurr", 1), "Unknown corruption 'blurr'.*gaussian_blur"),
        (("jpeg", 0), "1 to 5. Received: 0"),
        (("jpeg", 6), "1 to 5. Received: 6"),
    ],
)
def test_refusals(arguments: tuple[str, int], message: str, faces: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ConfigError, match=message):
        corrupt(faces, *arguments)


def test_other_arrays_are_refused(faces: npt.NDArray[np.uint8]) -> None:
    for wrong in (faces.astype(np.float32), faces[0], np.zeros((1, 8, 8, 2), np.uint8)):
        with pytest.raises(ConfigError, match="uint8 images"):
            corrupt(wrong, "jpeg", 1)
