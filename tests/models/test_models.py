"""Every network of `fer_keras/models`; a new file there is tested without touching this one."""

import functools
import inspect
from importlib import import_module

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.models import build_network, list_networks
from fer_keras.models.layers import ClassNames, class_names_of, conv, with_class_names

CLASS_NAMES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")

SIZE = 48
# One of each kind runs on JAX and PyTorch too: convolutions, attention, clips. The layers that only
# one network has are tested there with the network.
ON_EVERY_BACKEND = ("compact", "vit_se", "clip_transformer")

# Frames of a clip, where a network reads clips.
FRAMES = 4
CLIP = (12, 48, 48, 1)
# `compact` without its classifier, and the heads, by hand. LSTM: 4 * 64 * (256 + 64 + 1);
# attention 64 * 32 + 32 and 32; classifier 65 * 8. Transformer: 257 * 64 for tokens, 13 * 64 for
# token and places, in each of two blocks 2 * 128 of norms, 4 * 65 * 64 of attention, 65 * 128 + 129
# * 64 of dense layers, then 128 of the last norm and 65 * 8. R(2+1)D: 144 + 64 and 4,608 + 128 of
# the encoder; 72, 72, 115 and 144 channels stand between space and time.
_COMPACT, _COMPACT_TRAINED = 1_210_016, 1_207_264
_HEADS = {
    "clip_mean": 257 * 8,
    "clip_lstm": 4 * 64 * 321 + 65 * 32 + 32 + 65 * 8,
    "clip_transformer": (
        257 * 64 + 13 * 64 + 2 * (256 + 4 * 65 * 64 + 65 * 128 + 129 * 64) + 128 + 65 * 8
    ),
}
CLIP_PARAMETERS = {
    **{name: (_COMPACT + n, _COMPACT_TRAINED + n) for name, n in _HEADS.items()},
    "clip_r2plus1d": (231_236, 229_822),
}

# (name, image_shape, num_classes) -> (all parameters, trained parameters). Sources: mini-Xception
# 58,423 in the authors' table, moving statistics included; VGG13 8.75 M in Barsoum et al. 2016,
# counted layer by layer for 64x64x1 and 8 classes; compact counted by hand from its widths; VGG19
# and ResNet18 as the public FER2013 baseline has them, counted layer by layer; ViT_SE is ViT-B/16
# (85,798,656, the figure of KerasHub's preset too) with pooler, gate and classifier; DDAMFN is the
# authors' 4.19 M without the 81 thousand that their program creates and does not use; ESR-9
# of Siqueira et al. 2020 and MA-Net of Zhao et al. 2021 (50.54 M) are counted layer by layer, as is
# dlib's face network without its last block.
PARAMETERS = {
    ("mini_xception", (48, 48, 1), 7): (58_423, 56_951),
    ("mini_xception", (64, 64, 1), 7): (58_423, 56_951),
    ("compact", (48, 48, 1), 8): (1_212_072, 1_209_320),
    ("vgg13", (64, 64, 1), 8): (8_757_704, 8_757_704),
    ("vgg19", (44, 44, 3), 7): (20_049_991, 20_038_983),
    ("resnet18", (44, 44, 3), 7): (11_182_023, 11_172_423),
    ("encoder_classifier", (224, 224, 3), 7): (23_575_495, 23_522_375),
    ("vit_se", (224, 224, 3), 8): (86_691_272, 86_691_272),
    ("ddamfn", (112, 112, 3), 8): (4_142_336, 4_106_512),
    ("esr", (96, 96, 3), 8): (20_371_016, 20_349_384),
    ("manet", (224, 224, 3), 7): (50_590_638, 50_547_214),
    ("face_resnet", (48, 48, 1), 8): (4_405_736, 4_399_656),
    ("fusion", (44, 44, 3), 7): (20_049_991 + 11_182_023 + 105, 105),
    **{(name, CLIP, 8): count for name, count in CLIP_PARAMETERS.items()},
}


def input_shape(name, image_shape):
    """That of one input: of a picture, of a pair or of a clip."""
    kind = getattr(import_module(f"fer_keras.models.{name}"), "INPUT_KIND", "image")
    return {"image": (), "pair": (2,), "clip": (FRAMES,)}[kind] + tuple(image_shape)


def build_small(name, image_shape, num_classes, **options):
    """The network with its `SMALL` options, where it has any, so that the tests stay fast."""
    small = getattr(import_module(f"fer_keras.models.{name}"), "SMALL", {})
    shape = input_shape(name, image_shape)
    return build_network(name, shape, num_classes, **{**small, **options})


def pictures(number, shape, name="compact", seed=0):
    shape = (number, *input_shape(name, shape))
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@functools.cache
def _built(name):
    keras.utils.set_random_seed(0)
    network = build_small(name, (SIZE, SIZE, 1), len(CLASS_NAMES))
    return network, network.get_weights()


def small(name):
    """The grey network of seven classes with the weights it was built with; it is built once."""
    network, weights = _built(name)
    network.set_weights(weights)
    return network


def numpy_outputs(network, images, training=False):
    outputs = network(images, training=training)
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.backends] if name in ON_EVERY_BACKEND else [])
        for name in list_networks()
    ],
)
def test_outputs_have_their_names_shapes_and_are_finite(name):
    shape = (SIZE, SIZE, 3)
    network = build_small(name, shape, 7)
    images = pictures(2, shape, name)
    outputs = numpy_outputs(network, images)
    assert outputs["logits"].shape == (2, 7)
    if "embedding" in outputs:
        assert outputs["embedding"].ndim == 2
    if "features" in outputs:
        assert outputs["features"].ndim == 4
        if "embedding" in outputs and not name.startswith("vgg"):
            assert outputs["features"].shape[-1] == outputs["embedding"].shape[-1]
    for output_name, value in outputs.items():
        assert value.shape[0] == 2
        assert value.dtype == np.float32
        assert np.isfinite(value).all(), output_name
        assert value.shape[1:] == tuple(network.output[output_name].shape[1:])


@pytest.mark.parametrize("name", list_networks())
def test_pixels_of_both_types_are_scaled_in_the_graph(name):
    network = small(name)
    images = pictures(2, (SIZE, SIZE, 1), name)
    # Black, grey and white pictures all lie in a small range after scaling, so a network without
    # a scaling layer would answer a white picture with logits some 255 times as large.
    images[0] = 255
    from_bytes = numpy_outputs(network, images)["logits"]
    from_floats = numpy_outputs(network, images.astype("float32"))["logits"]
    np.testing.assert_array_equal(from_bytes, from_floats)
    assert np.abs(from_bytes[0]).max() < 200
    assert any(isinstance(layer, keras.layers.Rescaling) for layer in network._flatten_layers())


@pytest.mark.parametrize("name", list_networks())
def test_a_network_that_is_only_called_is_not_trained(name):
    network = small(name)
    images = pictures(4, (SIZE, SIZE, 1), name).astype("float32")
    expected = numpy_outputs(network, images)["logits"]
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(network(images)["logits"]), expected)
    for before, after in zip(_built(name)[1], network.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", list_networks())
def test_every_trainable_variable_moves(name):
    network = small(name)
    # Training on all outputs would hide a layer that only feeds, say, `embedding`.
    images = pictures(8, (SIZE, SIZE, 1), name)
    targets = np.eye(7, dtype="float32")[np.arange(8) % 7]
    trained = keras.Model(network.input, network.output["logits"])
    # Tracing a graph takes several times as long as this one step.
    trained.compile(keras.optimizers.SGD(1.0), _cross_entropy(), run_eagerly=True)
    before = [keras.ops.convert_to_numpy(v) for v in trained.trainable_variables]
    trained.train_on_batch(images.astype("float32"), targets)
    still = [
        variable.path
        for variable, old in zip(trained.trainable_variables, before, strict=True)
        if np.array_equal(keras.ops.convert_to_numpy(variable), old)
    ]
    assert len(trained.trainable_variables) == len(network.trainable_variables)
    assert still == []


@pytest.mark.parametrize("name", list_networks())
def test_saved_and_loaded_network_is_the_same(name, tmp_path):
    network = with_class_names(small(name), CLASS_NAMES)
    for variable in network.variables:
        # Fresh biases and moving statistics are all 0 or 1, which a mix-up would not change.
        noise = np.random.default_rng(len(variable.path)).uniform(0.01, 0.02, variable.shape)
        variable.assign(keras.ops.convert_to_numpy(variable) + noise.astype("float32"))
    images = pictures(3, (SIZE, SIZE, 1), name)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras", compile=False, safe_mode=True)
    expected, found = numpy_outputs(network, images), numpy_outputs(loaded, images)
    assert sorted(expected) == sorted(found)
    for output_name, value in expected.items():
        np.testing.assert_array_equal(found[output_name], value)
    assert class_names_of(loaded) == CLASS_NAMES
    assert loaded.name == network.name


@pytest.mark.parametrize(("name", "shape", "num_classes"), PARAMETERS)
def test_published_form(name, shape, num_classes):
    """The parameters are counted, and no convolution is strided and 1x1."""
    network = build_network(name, shape, num_classes)
    trained = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
    assert (network.count_params(), trained) == PARAMETERS[name, shape, num_classes]
    convolutions = [
        layer for layer in network._flatten_layers() if isinstance(layer, keras.layers.Conv2D)
    ]
    assert convolutions
    # `every_nth` says why: on CPUs the gradient of one with few channels can be wrong or fatal.
    assert [
        layer.name
        for layer in convolutions
        if layer.kernel_size == (1, 1) and layer.strides != (1, 1)
    ] == []


@pytest.mark.backends
@pytest.mark.parametrize(("channels", "side"), [(4, 48), (8, 47), (16, 48)])
def test_gradient_of_a_halving_1x1_convolution(channels, side):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, side, side, channels)).astype("float32")
    slopes = rng.normal(size=(8, 24, 24, 16)).astype("float32")
    image = keras.Input((side, side, channels))
    model = keras.Model(image, conv(image, 16, 1, strides=2, name="conv"))
    before = model.get_layer("conv").get_weights()[0]
    model.compile(
        keras.optimizers.SGD(1.0),
        lambda target, output: keras.ops.sum(target * output),
        jit_compile=False,
    )
    model.train_on_batch(x, slopes)
    gradient = before - model.get_layer("conv").get_weights()[0]
    expected = np.einsum("nhwi,nhwo->io", x[:, ::2, ::2], slopes)
    np.testing.assert_allclose(gradient[0, 0], expected, atol=1e-2, rtol=0)


# Counted in test_encoders.py, where their encoders are built only once.
COUNTED_THERE = {"difference_of_embeddings", "emotion_encoder"}


def test_every_network_has_a_golden_parameter_count():
    assert {name for name, _, _ in PARAMETERS} | COUNTED_THERE == set(list_networks())


# Networks that learn by SGD here: a graph of Adam's steps takes twice as long to trace.
BY_SGD = {"compact", "ddamfn", "esr", "manet", "mini_xception", "resnet18", "vgg19"}

_BASE = {
    "name": "compact",
    "options": {"stem_filters": 8, "widths": [16], "depths": [1], "dropout": 0.0},
}

_ENCODER = {
    "encoder_options": {"stem_filters": 16, "widths": [32, 64], "depths": [1, 1]},
    "dropout": 0.0,
}

# Options and learning rates of networks that need more than Adam at 1e-3 to learn in few steps.
OVERFIT = {
    "compact": ({"dropout": 0.0}, 5e-2),
    "mini_xception": ({"l2": 0.0}, 5e-2),
    "vgg13": ({"conv_dropout": 0.0, "dense_dropout": 0.0, "dense_units": 64}, 1e-3),
    "vgg19": ({"dropout": 0.0}, 5e-2),
    "resnet18": ({"dropout": 0.0}, 5e-2),
    "vit_se": ({"dropout": 0.0}, 3e-3),
    "ddamfn": ({}, 1e-1),
    "manet": ({}, 5e-2),
    "esr": ({}, 5e-2),
    "emotion_encoder": ({}, 1e-2),
    "fusion": ({"bases": [_BASE, _BASE]}, 1e-2),
    "clip_lstm": (_ENCODER, 1e-2),
    "clip_mean": (_ENCODER, 1e-2),
    "clip_transformer": (_ENCODER, 3e-3),
}

# Networks that halve the map too often for pictures of 16 pixels.
OVERFIT_SIZES: dict[str, int] = {"vgg19": 32, "esr": 48}


def overfits_32_pictures(name):
    """Whether at most 40 compiled steps learn 32 pictures by heart."""
    keras.utils.set_random_seed(0)
    options, learning_rate = OVERFIT.get(name, ({}, 1e-3))
    labels = np.arange(32) % 4
    images = quadrants(labels, OVERFIT_SIZES.get(name, 16))
    network = build_small(name, images.shape[1:], 4, **options)
    if len(network.input.shape) == 5:  # Clips of a picture that stands still.
        images = np.repeat(images[:, np.newaxis], FRAMES, axis=1)
    targets = np.eye(4, dtype="float32")[labels]
    trained = keras.Model(network.input, network.output["logits"])
    adam = keras.optimizers.Adam(learning_rate)
    trained.compile(
        keras.optimizers.SGD(learning_rate, momentum=0.9) if name in BY_SGD else adam,
        _cross_entropy(),
        metrics=["accuracy"],
        jit_compile=False,
    )
    for _ in range(40):
        accuracy = float(trained.train_on_batch(images, targets, return_dict=True)["accuracy"])
        trained.reset_metrics()
        if accuracy == 1.0:
            return True
    return False


# One of each kind; `tests/slow/test_overfitting.py` has all.
@pytest.mark.parametrize("name", ["clip_lstm", "compact", "esr", "fusion", "resnet18", "vit_se"])
def test_learns_32_pictures_by_heart(name):
    assert overfits_32_pictures(name)


def quadrants(labels, size):
    """Noise pictures with one brighter quadrant, which is the class."""
    shape = (len(labels), size, size, 1)
    images = np.random.default_rng(1).uniform(0, 128, shape).astype("float32")
    half = size // 2
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[half * row : half * (row + 1), half * column : half * (column + 1)] += 127
    return images


def _cross_entropy():
    return keras.losses.CategoricalCrossentropy(from_logits=True)


def test_every_option_has_a_default_and_is_documented():
    for name in list_networks():
        build = import_module(f"fer_keras.models.{name}").build
        for parameter in list(inspect.signature(build).parameters.values())[2:]:
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
            assert parameter.default is not inspect.Parameter.empty
            assert f"{parameter.name}:" in build.__doc__


def test_list_models_takes_a_pattern():
    assert {"compact", "mini_xception", "vgg13"} <= set(list_networks())
    assert list_networks("vgg13") == ("vgg13",)
    assert list_networks("no_such*") == ()
    assert "layers" not in list_networks()


def test_a_file_that_is_not_there_is_no_network():
    with pytest.raises(ConfigError, match=r"a file of your own. There is none: .*compact\.py"):
        build_network("compact.py")


@pytest.mark.parametrize("name", ["layers", "../compact", "__init__", "Compact", ""])
def test_a_name_that_is_no_network_is_refused(name):
    with pytest.raises(ConfigError, match="Unknown network"):
        build_network(name)


def test_an_unknown_network_lists_the_nearest():
    with pytest.raises(ConfigError, match=r"Unknown network 'compakt'. Nearest: compact"):
        build_network("compakt")


def test_an_unknown_option_lists_the_nearest():
    with pytest.raises(ConfigError, match=r"no option 'drop_out'. Nearest: dropout"):
        build_network("compact", drop_out=0.1)


@pytest.mark.parametrize("shape", [(48, 48), (48, 48, 2), (0, 48, 1), (48.0, 48, 1), 48, "48"])
def test_a_bad_image_shape_is_refused(shape):
    with pytest.raises(ConfigError, match=r"`image_shape`. Expected .* Received: image_shape="):
        build_network("compact", shape)


@pytest.mark.parametrize("num_classes", [1, 0, -3, 2.5, "8", True])
def test_a_bad_number_of_classes_is_refused(num_classes):
    with pytest.raises(ConfigError, match=r"`num_classes`. Expected .* Received: num_classes="):
        build_network("compact", num_classes=num_classes)


def test_as_many_widths_as_depths():
    with pytest.raises(ConfigError, match=r"Expected as many .* Received: widths="):
        build_network("compact", widths=(64, 128), depths=(1,))


def test_vgg13_refuses_a_picture_it_would_halve_to_nothing():
    with pytest.raises(ConfigError, match="at least 16x16"):
        build_network("vgg13", (15, 48, 1))


def tiny_network(num_classes=3):
    image = keras.Input((4, 4, 1))
    embedding = keras.layers.Flatten()(image)
    logits = keras.layers.Dense(num_classes)(embedding)
    return keras.Model(image, {"logits": logits, "embedding": embedding}, name="tiny")


@pytest.mark.backends
def test_class_names_leave_the_outputs_as_they_are():
    network = tiny_network()
    named = with_class_names(network, ["b", "a", "c"])
    images = pictures(2, (4, 4, 1))
    expected, found = numpy_outputs(network, images), numpy_outputs(named, images)
    assert sorted(found) == ["embedding", "logits"]
    for output_name, value in expected.items():
        np.testing.assert_array_equal(found[output_name], value)
    assert class_names_of(named) == ("b", "a", "c")
    assert named.name == "tiny"
    assert [v.path for v in named.variables] == [v.path for v in network.variables]


def test_class_names_replace_earlier_ones():
    named = with_class_names(with_class_names(tiny_network(), ["a", "b", "c"]), ["x", "y", "z"])
    assert class_names_of(named) == ("x", "y", "z")
    assert sum(isinstance(layer, ClassNames) for layer in named.layers) == 1


def test_class_names_are_found_inside_another_model():
    named = with_class_names(tiny_network(), ["x", "y", "z"])
    image = keras.Input((4, 4, 1))
    outer = keras.Model(image, keras.layers.Softmax()(named(image)["logits"]))
    assert class_names_of(outer) == ("x", "y", "z")


def test_a_model_without_class_names_says_how_to_add_them():
    with pytest.raises(ModelFileError, match=r"no class names.*with_class_names"):
        class_names_of(tiny_network())


def test_class_names_must_fit_the_logits():
    with pytest.raises(ConfigError, match="3 logits but 2 class names"):
        with_class_names(tiny_network(), ["x", "y"])


@pytest.mark.parametrize("names", [[], ["x", "x", "y"], "xyz", ["x", "", "y"]])
def test_bad_class_names_are_refused(names):
    with pytest.raises(ConfigError, match="`class_names`"):
        with_class_names(tiny_network(), names)


def test_a_network_without_logits_cannot_carry_class_names():
    image = keras.Input((4,))
    for outputs in (keras.layers.Dense(3)(image), {"embedding": keras.layers.Dense(3)(image)}):
        with pytest.raises(ConfigError, match="'logits'"):
            with_class_names(keras.Model(image, outputs), ["x", "y", "z"])
