"""The fusion of networks: its parameters, its rules, frozen bases, one file."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.config import Experiment, load_experiment
from fer_keras.conversion.tflite import convert, deploy_graph, frozen_function, in_float32
from fer_keras.loading.keras_files import load_network, save_network
from fer_keras.loading.tflite_files import load_tflite_bytes
from fer_keras.models import build_network
from fer_keras.models.fusion import AVERAGES, FITTED, SMALL, fuse, in_order
from fer_keras.models.layers import with_class_names
from fer_keras.training.fallback import with_fallback
from fer_keras.training.start import with_bases, with_earlier_stages

CLASS_NAMES = ("anger", "disgust", "fear")
TINY = SMALL["bases"][0]["options"]
RNG = np.random.default_rng


@pytest.fixture(scope="module")
def bases() -> list[Any]:
    """A base for grey pictures of 24 pixels and one for colour of 16, with bold answers."""
    keras.utils.set_random_seed(0)
    networks = []
    for shape in ((24, 24, 1), (16, 16, 3)):
        network = with_class_names(build_network("compact", shape, 3, **TINY), CLASS_NAMES)
        kernel = network.get_layer("logits").kernel
        kernel.assign(RNG(1).normal(size=kernel.shape) * 3)
        networks.append(network)
    return networks


def answer(model: Any, images: np.ndarray, training: bool = False) -> dict[str, np.ndarray]:
    outputs = model(images, training=training)
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}


def pictures(number: int = 4) -> np.ndarray:
    return RNG(0).uniform(0, 255, (number, 24, 24, 1)).astype("float32")


def base_logits(bases: list[Any], images: np.ndarray) -> np.ndarray:
    """What the bases say of pictures that were made ready for each of them by hand."""
    small = keras.ops.image.resize(images, (16, 16))
    colour = np.repeat(keras.ops.convert_to_numpy(small), 3, axis=3)
    return np.stack(
        [answer(bases[0], images)["logits"], answer(bases[1], colour)["logits"]], axis=1
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


@pytest.mark.backends
@pytest.mark.parametrize("rule", [*AVERAGES, *FITTED])
def test_rules(bases: list[Any], rule: str) -> None:
    fused = fuse(bases, rule)
    assert fused.input_shape == (None, 24, 24, 1)
    images = pictures()
    found, logits = answer(fused, images), base_logits(bases, images)
    np.testing.assert_allclose(found["branch_logits"], logits, atol=1e-5, rtol=0)
    assert logits.argmax(axis=2).tolist() != [[0, 0]] * 4
    # A fitted rule starts as the mean of what it reads.
    expected = {
        "mean_logits": logits.mean(axis=1),
        "linear": logits.mean(axis=1),
        "mean_probabilities": np.log(softmax(logits).mean(axis=1)),
        "stacking": softmax(logits).mean(axis=1),
    }[rule]
    np.testing.assert_allclose(found["logits"], expected, atol=1e-5, rtol=0)
    trained = sum(int(np.prod(v.shape)) for v in fused.trainable_variables)
    assert trained == (6 * 3 + 3 if rule in FITTED else 0)


def test_training_leaves_the_bases_as_they_are(bases: list[Any]) -> None:
    """Weights, batch statistics and dropout: the answer of a base is the same in training mode."""
    fused = fuse(bases, "linear")
    images = pictures(8)
    before = [np.array(v) for base in bases for v in base.variables]
    kernel = np.array(fused.get_layer("logits").kernel)
    quiet = answer(fused, images)["branch_logits"]
    np.testing.assert_array_equal(answer(fused, images, training=True)["branch_logits"], quiet)
    trained = keras.Model(fused.input, fused.output["logits"])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    trained.compile(keras.optimizers.SGD(1.0), loss, jit_compile=False)
    trained.train_on_batch(images, np.eye(3, dtype="float32")[np.arange(8) % 3])
    after = [np.array(v) for base in bases for v in base.variables]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    assert not np.array_equal(kernel, np.array(fused.get_layer("logits").kernel))


def test_one_file_holds_all(bases: list[Any], tmp_path: Any) -> None:
    fused = with_class_names(fuse(bases, "mean_probabilities"), CLASS_NAMES)
    save_network(fused, tmp_path / "fused.keras")
    loaded, _ = load_network(tmp_path / "fused.keras")
    expected, found = answer(fused, pictures()), answer(loaded, pictures())
    np.testing.assert_array_equal(found["logits"], expected["logits"])


def test_classes_are_joined_by_name(bases: list[Any]) -> None:
    turned = in_order(bases[0], ("fear", "Angry"))
    expected = answer(bases[0], pictures())["logits"][:, [2, 0]]
    np.testing.assert_array_equal(answer(turned, pictures())["logits"], expected)
    assert in_order(bases[0], CLASS_NAMES) is bases[0]
    with pytest.raises(DataError, match="contempt"):
        in_order(bases[0], ("anger", "contempt"))


def test_refusals(bases: list[Any]) -> None:
    with pytest.raises(ConfigError, match=r"one of mean_logits.*Received: rule='vote'"):
        fuse(bases, "vote")
    with pytest.raises(ConfigError, match="at least two bases"):
        fuse(bases[:1], "linear")
    with pytest.raises(ConfigError, match=r"same classes.*\[2, 3\]"):
        fuse([bases[0], in_order(bases[0], CLASS_NAMES[:2])], "linear")
    with pytest.raises(ConfigError, match="1 channel"):
        fuse(bases, "linear", image_shape=(24, 24, 3))
    with pytest.raises(ConfigError, match=r"Invalid value for `bases`.*'vgg19'"):
        build_network("fusion", (44, 44, 3), 7, bases=["vgg19", "resnet18"])


def test_an_experiment_names_its_bases(bases: list[Any], tmp_path: Any) -> None:
    """Experiments among them are trained first, on the whole of train; the files are loaded."""
    save_network(bases[0], tmp_path / "first.keras")
    experiment = load_experiment("fer2013_fusion_small")
    asked: list[Experiment] = []

    def train(first: Experiment) -> Path:
        asked.append(first)
        return tmp_path / "first.keras"

    ready = with_earlier_stages(experiment, train, tmp_path)
    assert [first.name for first in asked] == ["fer2013_vgg19_small", "fer2013_resnet18_small"]
    assert {first.dataset.split for first in asked} == {"official"}
    options, note = with_bases(dict(ready.network.options), ("fear", "anger", "disgust"))
    assert note.count("first.keras") == 2
    fused = build_network("fusion", (24, 24, 1), 3, **options)
    expected = answer(bases[0], pictures())["logits"][:, [2, 0, 1]]
    np.testing.assert_allclose(answer(fused, pictures())["logits"], expected, atol=1e-5, rtol=0)
    built_in = with_fallback(experiment, require_data=False)
    asked.clear()
    with_earlier_stages(built_in, train, tmp_path)
    assert {first.dataset.split for first in asked} == {"official"}


@pytest.mark.parametrize("rule", ["mean_probabilities", "linear"])
def test_exports_as_one_file_of_built_in_operators(bases: list[Any], rule: str) -> None:
    """One base in half precision, one whose classes are in another order."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = build_network("compact", (16, 16, 1), 3, **TINY)
    finally:
        keras.config.set_dtype_policy("float32")
    turned = in_order(bases[0], ("fear", "anger", "disgust"))
    fused = in_float32(with_class_names(fuse([turned, half], rule), ("fear", "anger", "disgust")))
    deploy = deploy_graph(fused, 1.5)
    data = convert(frozen_function(deploy), "float32")
    run, shape, _ = load_tflite_bytes(data, Path("fused.tflite"))
    assert shape == (1, 24, 24, 1)
    for image in pictures(3):
        expected = keras.ops.convert_to_numpy(deploy(image[None], training=False))
        np.testing.assert_allclose(run(image[None]), expected, atol=1e-5, rtol=0)
