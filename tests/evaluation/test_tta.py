"""Ten crops of hand-made pictures, and that logits are what is averaged."""

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.evaluation.tta import mirror_average, predict_logits, ten_crop


def test_ten_crops_of_a_hand_made_picture() -> None:
    picture = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    crops = ten_crop(picture, 2)
    assert crops.shape == (1, 10, 2, 2, 1)
    assert crops.dtype == np.uint8
    assert crops[0, :, :, :, 0].tolist() == [
        [[0, 1], [4, 5]],
        [[2, 3], [6, 7]],
        [[8, 9], [12, 13]],
        [[10, 11], [14, 15]],
        [[5, 6], [9, 10]],
        [[1, 0], [5, 4]],
        [[3, 2], [7, 6]],
        [[9, 8], [13, 12]],
        [[11, 10], [15, 14]],
        [[6, 5], [10, 9]],
    ]


def test_crops_as_large_as_the_picture_are_the_picture_and_its_mirror_image() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 3, 3), dtype=np.uint8)
    crops = ten_crop(images, 3)
    np.testing.assert_array_equal(crops[:, :5], np.repeat(images[:, None], 5, axis=1))
    np.testing.assert_array_equal(crops[:, 5:], np.repeat(images[:, None, :, ::-1], 5, axis=1))


def test_a_wide_picture_keeps_its_centre() -> None:
    picture = np.arange(18).reshape(1, 3, 6, 1)
    assert ten_crop(picture, 2)[0, 4, :, :, 0].tolist() == [[2, 3], [8, 9]]


def test_logits_are_averaged_over_the_crops_of_each_picture() -> None:
    # More pictures than are cropped together.
    images = np.random.default_rng(1).integers(0, 256, (70, 5, 5, 1), dtype=np.uint8)

    def predict(crops: np.ndarray) -> np.ndarray:
        assert crops.shape[1:] == (3, 3, 1)
        # Not linear, and not the same for a mirrored crop.
        return np.stack([crops.max(axis=(1, 2, 3)), crops[:, 0, 0, 0]], axis=1).astype("float32")

    logits = predict_logits(predict, images, 3)
    assert logits.shape == (70, 2)
    assert logits.dtype == np.float32
    for image, found in zip(images, logits, strict=True):
        expected = predict(ten_crop(image[None], 3)[0]).mean(axis=0)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("size", [0, -1, 5])
def test_crops_that_do_not_fit_are_refused(size: int) -> None:
    with pytest.raises(
        ConfigError, match=f"from 1 to 4 for pictures of 6x4. Received: size={size}"
    ):
        ten_crop(np.zeros((1, 4, 6, 1), np.uint8), size)


def test_no_pictures_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one picture"):
        predict_logits(lambda crops: crops, np.zeros((0, 4, 4, 1), np.uint8), 2)


def test_mirror_average_is_the_mean_of_both_views_and_forgets_left_and_right() -> None:
    import keras

    from fer_keras.models.layers import class_names_of, with_class_names

    keras.utils.set_random_seed(0)
    image = keras.Input((5, 6, 1), name="image")
    logits = keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(image))
    network = with_class_names(keras.Model(image, {"logits": logits}), ("happiness", "anger"))
    both = mirror_average(network)
    assert class_names_of(both) == ("happiness", "anger")
    pictures = np.random.default_rng(0).random((3, 5, 6, 1), np.float32)
    mirrored = np.ascontiguousarray(pictures[:, :, ::-1])
    plain = [network.predict(p, verbose=0)["logits"] for p in (pictures, mirrored)]
    assert np.abs(plain[0] - plain[1]).max() > 0.1
    averaged = [both.predict(p, verbose=0)["logits"] for p in (pictures, mirrored)]
    np.testing.assert_allclose(averaged[0], (plain[0] + plain[1]) / 2, atol=1e-6)
    np.testing.assert_allclose(averaged[1], averaged[0], atol=1e-6)
