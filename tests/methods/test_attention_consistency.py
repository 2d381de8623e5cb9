"""Class activation maps of a picture and its mirror image, against NumPy."""

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.methods import build_method
from fer_keras.methods.attention_consistency import class_maps, erased, turned

from .conftest import NAMES, build_tiny_network

# Op by op, JAX would compile every one of them.
JIT = keras.backend.backend() == "jax"


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def build(network, **options):
    return build_method("attention_consistency", network, NAMES, **options)


def losses(method, y, logits, cam, mirrored, training=True):
    outputs = {"logits": logits, "cam": cam, "mirrored_cam": mirrored}
    outputs = {name: keras.ops.convert_to_tensor(value) for name, value in outputs.items()}
    return to_numpy(method.sample_losses(keras.ops.convert_to_tensor(y), outputs, training))


@pytest.mark.backends
def test_the_loss_is_that_of_the_formula(tiny_network):
    method = build(tiny_network, weight=3.0)
    logits = np.zeros((2, 4), np.float32)
    y = np.eye(4, dtype=np.float32)[:2]
    cam = np.zeros((2, 2, 2, 4), np.float32)
    mirrored = cam.copy()
    # One of 16 numbers is 4 apart: the mean of the squares is 1.
    mirrored[1, 0, 1, 2] = 4.0
    expected = np.log(4) + np.array([0.0, 3.0])
    np.testing.assert_allclose(losses(method, y, logits, cam, mirrored), expected, rtol=1e-6)
    evaluated = losses(method, y, logits, cam, mirrored, training=False)
    np.testing.assert_allclose(evaluated, [np.log(4)] * 2, rtol=1e-6)


def test_maps_of_all_classes_are_those_of_the_classifier(tiny_network, pictures):
    x, _ = pictures
    method = build(tiny_network, erasing="none")
    outputs = method(x, training=True)
    kernel, _ = method.network.get_layer("logits").get_weights()
    for name, images in (("cam", x), ("mirrored_cam", x[:, :, ::-1])):
        features = to_numpy(method.network(images.copy(), training=False)["features"])
        expected = features @ kernel
        if name == "mirrored_cam":
            expected = expected[:, :, ::-1]
        assert outputs[name].shape == (10, 6, 6, 4)
        np.testing.assert_allclose(to_numpy(outputs[name]), expected, atol=1e-5)
    assert to_numpy(outputs["logits"]).shape == (10, 4)
    assert sorted(method(x)) == sorted(method.network.output)


def test_a_network_that_treats_both_sides_alike_costs_nothing(tiny_network, pictures):
    x, _ = pictures
    method = build(tiny_network, erasing="none")
    conv = method.network.get_layer("features")

    def apart():
        outputs = method(x, training=True)
        return np.abs(to_numpy(outputs["cam"]) - to_numpy(outputs["mirrored_cam"])).max()

    assert apart() > 1e-2
    # A kernel that is its own mirror image.
    (kernel,) = conv.get_weights()
    conv.set_weights([kernel + kernel[:, ::-1]])
    assert apart() < 1e-5


@pytest.mark.backends
def test_no_gradient_reaches_the_classifier_through_the_maps(tiny_network, pictures):
    """With a label loss that is still, only what is in front of the map may move."""
    x, _ = pictures
    method = build(tiny_network, weight=1.0, erasing="none")
    method.network.get_layer("dropout").rate = 0.0
    flat = keras.ops.softmax(method.network(x, training=False)["logits"])
    before = {v.path: to_numpy(v.value).copy() for v in method.trainable_variables}
    method.compile(optimizer=keras.optimizers.SGD(1.0), jit_compile=JIT)
    # The label loss has no gradient where the target is the answer itself.
    method.fit(x, to_numpy(flat), batch_size=10, epochs=1, verbose=0)
    for variable in method.trainable_variables:
        moved = np.abs(to_numpy(variable.value) - before[variable.path]).max()
        if "features" in variable.path:
            assert moved > 1e-5, variable.path
        else:
            assert moved < 1e-6, variable.path


def test_training_brings_the_maps_together(tiny_network, pictures):
    x, y = pictures
    method = build(tiny_network, weight=50.0, erasing="none")

    def apart():
        outputs = method(x, training=True)
        return np.square(to_numpy(outputs["cam"] - outputs["mirrored_cam"])).mean()

    before = apart()
    method.compile(optimizer=keras.optimizers.Adam(0.02), jit_compile=JIT)
    method.fit(x, y, batch_size=10, epochs=15, verbose=0)
    assert apart() < 0.5 * before


def test_erased_rectangles():
    rng = np.random.default_rng(0)
    images = rng.uniform(50, 200, (200, 24, 20, 3)).astype(np.float32)
    draws = rng.uniform(size=(200, 5)).astype(np.float32)
    tensors = (keras.ops.convert_to_tensor(array) for array in (images, draws))
    received = to_numpy(erased(*tensors, 0.5, 24, 20))
    changed = (received != images).any(axis=-1)
    has_one = changed.any(axis=(1, 2))
    np.testing.assert_array_equal(has_one, draws[:, 0] < 0.5)
    shares = changed[has_one].mean(axis=(1, 2))
    assert shares.min() > 0.01
    assert shares.max() < 0.3
    parts = (received[has_one], changed[has_one], images[has_one])
    for picture, mask, original in zip(*parts, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        mean = original.mean(axis=(0, 1))
        np.testing.assert_allclose(picture[mask], np.tile(mean, (mask.sum(), 1)), rtol=1e-4)


@pytest.mark.parametrize(("erasing", "alike"), [("mirrored", True), ("independent", False)])
def test_which_rectangles_the_mirror_image_has(erasing, alike):
    # A network whose map is the picture, and whose maps of all classes are so too.
    image = keras.Input((8, 8, 1))
    features = keras.layers.Rescaling(1.0)(image)
    logits = keras.layers.Dense(4, kernel_initializer="ones")
    mean = keras.layers.GlobalAveragePooling2D()(features)
    network = keras.Model(image, {"logits": logits(mean), "features": features})
    ramp = np.tile(np.arange(8, dtype=np.float32), (6, 8, 1))[..., None]
    outputs = build(network, erasing=erasing, erasing_rate=1.0)(ramp, training=True)
    first, second = (to_numpy(outputs[name])[..., :1] for name in ("cam", "mirrored_cam"))
    assert (first != ramp).any()
    assert (second != ramp).any()
    assert np.array_equal(first, second) is alike


def test_maps_are_float32_also_of_half_precision():
    features = keras.ops.cast(np.ones((1, 2, 2, 3)), "bfloat16")
    maps = class_maps(features, np.full((3, 4), 0.1, np.float32))
    assert keras.backend.standardize_dtype(maps.dtype) == "float32"
    np.testing.assert_allclose(to_numpy(maps), 0.3, rtol=1e-6)


def test_training_in_bfloat16_is_finite(pictures):
    x, y = pictures
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        method = build(build_tiny_network())
        assert keras.backend.standardize_dtype(method(x, training=True)["cam"].dtype) == "float32"
        method.compile(optimizer=keras.optimizers.SGD(0.01), jit_compile=JIT)
        history = method.fit(x, y, batch_size=10, epochs=1, verbose=0).history
        assert np.isfinite(history["loss"]).all()
    finally:
        keras.config.set_dtype_policy("float32")


def no_map():
    network = build_tiny_network()
    hidden = keras.layers.Dense(5, activation="relu")(network.output["embedding"])
    logits = keras.layers.Dense(len(NAMES))(hidden)
    outputs = {"logits": logits, "features": network.output["features"]}
    return keras.Model(network.input, outputs, name="two_layers")


def test_networks_without_class_activation_maps_are_refused(tiny_network):
    with pytest.raises(ConfigError, match=r"one linear layer on the mean.*'two_layers'"):
        build(no_map())
    outputs = {"logits": tiny_network.output["logits"]}
    with pytest.raises(ConfigError, match="needs the network output features"):
        build(keras.Model(tiny_network.input, outputs))


def test_the_fill_and_the_noise_of_the_program(tiny_network):
    images = keras.ops.convert_to_tensor(np.full((64, 24, 20, 3), 100, np.float32))
    draws = keras.ops.convert_to_tensor(np.full((64, 5), 0.4, np.float32))
    received = to_numpy(erased(images, draws, 0.5, 24, 20, [10.0, 20.0, 30.0]))
    colours = {tuple(row) for row in received.reshape(-1, 3)}
    assert colours == {(100.0, 100.0, 100.0), (10.0, 20.0, 30.0)}
    grey = np.full((400, 12, 12, 1), 128, np.float32)
    noisy = to_numpy(build(tiny_network, noise=5.0)._with_noise(keras.ops.convert_to_tensor(grey)))
    by_picture = (noisy - 128).std(axis=(1, 2, 3))
    assert 0.4 < (by_picture > 0).mean() < 0.6
    assert abs(by_picture[by_picture > 0].mean() - 5.0) < 0.3
    plain = to_numpy(build(tiny_network)._with_noise(keras.ops.convert_to_tensor(grey)))
    np.testing.assert_array_equal(plain, grey)


@pytest.mark.backends
def test_turning_back_gives_the_places_back():
    rng = np.random.default_rng(0)
    # Smooth, so that interpolation says nothing.
    y, x = np.mgrid[:21, :21] / 20
    maps = np.stack([x, y, x * y], axis=-1)[None].repeat(3, axis=0).astype(np.float32)
    angle = rng.uniform(-0.3, 0.3, 3).astype(np.float32)
    scale = np.array([1.0, 0.8, 0.7], np.float32)
    there = turned(maps, angle, scale, fill_mode="nearest")
    back = to_numpy(turned(there, -angle, 1 / scale))
    inside = (slice(None), slice(5, 16), slice(5, 16))
    np.testing.assert_allclose(back[inside], maps[inside], atol=0.02)
    assert np.abs(to_numpy(there)[1:] - maps[1:]).max() > 0.1


def test_a_turn_is_clockwise_and_a_scale_below_1_is_smaller():
    picture = np.zeros((1, 9, 9, 1), np.float32)
    picture[0, 0, 4] = 1
    quarter = to_numpy(turned(picture, np.float32([np.pi / 2]), np.float32([1])))
    assert np.unravel_index(quarter.argmax(), quarter.shape)[1:3] == (4, 8)
    half = to_numpy(turned(picture, np.float32([0]), np.float32([0.5])))
    assert np.unravel_index(half.argmax(), half.shape)[1:3] == (2, 4)


@pytest.mark.parametrize("transform", ["rotate", "resize"])
def test_turned_pictures_are_compared_where_both_are_seen(tiny_network, pictures, transform):
    x, y = pictures
    method = build(tiny_network, erasing="none", weight=1.0, transform=transform)
    outputs = method(x, training=True)
    mask = to_numpy(outputs["cam_mask"])
    assert mask.shape == (10, 6, 6, 1)
    assert set(np.unique(mask)) <= {0, 1}
    # What became smaller is seen whole; of what was turned, corners are missing.
    assert (mask.min() == 1) == (transform == "resize")
    cam, other = (to_numpy(outputs[name]) for name in ("cam", "mirrored_cam"))
    assert np.isfinite(cam).all()
    squares = ((cam - other) ** 2 * mask).mean(axis=3, keepdims=True)
    distance = (squares * mask).sum(axis=(1, 2, 3)) / mask.sum(axis=(1, 2, 3))
    found = to_numpy(method.sample_losses(keras.ops.convert_to_tensor(y), outputs, True))
    alone = to_numpy(method.sample_losses(keras.ops.convert_to_tensor(y), outputs, False))
    np.testing.assert_allclose(found - alone, distance, rtol=1e-3, atol=1e-6)
    method.compile(keras.optimizers.SGD(0.01), jit_compile=JIT)
    assert np.isfinite(method.train_on_batch(x, y, return_dict=True)["loss"])
