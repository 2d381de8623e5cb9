"""Encoders and the networks that are built on them."""

import pickle
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.loading.keras_files import load_network, save_network
from fer_keras.loading.weights import load_arrays
from fer_keras.methods import build_method
from fer_keras.models import build_network
from fer_keras.models.difference_of_embeddings import READS
from fer_keras.models.encoders import (
    build_encoder,
    load_torchvision_mobilenet,
    load_vggface2,
)
from fer_keras.models.layers import FrozenEncoder, FusedBatchNormalization
from fer_keras.training.start import with_encoders

NAMES = ("neutral", "happiness", "anger")
SHAPE = (16, 16, 1)
TINY = {"stem_filters": 4, "widths": [8], "depths": [1], "dropout": 0.5}


def difference(**options):
    tiny = {"encoder": "compact", "encoder_options": TINY, "hidden": [8]}
    return build_network("difference_of_embeddings", (2, *SHAPE), 3, **{**tiny, **options})


def pairs(number=6):
    return np.random.default_rng(0).integers(0, 256, (number, 2, *SHAPE), dtype=np.uint8)


def trained(network):
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


def outputs(network, images, training=False):
    found = network(images, training=training)
    return {name: keras.ops.convert_to_numpy(value) for name, value in found.items()}


def test_published_parameter_counts():
    # Figures of the sources' PyTorch programs, counted layer by layer; none depends on the size of
    # the pictures. 813,800 = 3008 -> 256 -> 128 -> 64 -> 32 -> 8, 535,272 the same from 1920.
    network = build_network("emotion_encoder", (32, 32, 3), 8)
    assert trained(network) == 2_971_952 + 813_800
    identity = network.get_layer("identity").encoder
    assert trained(network.get_layer("mobilenet_v3_large")) == 2_971_952
    assert identity.count_params() == 23_508_032 + 2 * 26_560
    assert identity.trainable_variables == []
    pair = (2, 32, 32, 3)
    second = build_network("difference_of_embeddings", pair, 8, encoder=network)
    assert trained(second) == 535_272
    assert trained(build_network("difference_of_embeddings", pair, 7, encoder=network)) == 535_239
    assert second.count_params() == 535_272 + 2_996_352


@pytest.mark.backends
def test_a_frozen_encoder_does_not_drift():
    keras.utils.set_random_seed(0)
    targets = np.eye(3, dtype=np.float32)[np.arange(6) % 3]

    def after_a_step(network):
        """How far the moving statistics and weights of the encoder went."""
        encoder = next(x for x in network._flatten_layers() if x.name == "compact")
        before = [keras.ops.convert_to_numpy(v).copy() for v in encoder.variables]
        model = keras.Model(network.input, network.output["logits"])
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
        model.train_on_batch(pairs().astype(np.float32), targets)
        after = [keras.ops.convert_to_numpy(v) for v in encoder.variables]
        return max(np.abs(a - b).max() for a, b in zip(after, before, strict=True))

    assert after_a_step(difference()) == 0
    # What the sources' programs do, and what a call with training=False alone would be in Keras.
    encoder = build_encoder("compact", SHAPE, TINY)
    pair = keras.Input((2, *SHAPE), name="pair")
    faces = keras.layers.Reshape((32, 16, 1))(pair)
    vector = encoder(faces[:, 16:], training=False)
    naive = keras.Model(pair, {"logits": keras.layers.Dense(3)(vector)})
    assert after_a_step(naive) > 0


@pytest.mark.backends
def test_a_frozen_encoder_is_never_in_training_mode():
    network = difference()
    quiet, training = outputs(network, pairs()), outputs(network, pairs(), training=True)
    for name, value in quiet.items():
        np.testing.assert_array_equal(training[name], value)


@pytest.mark.parametrize("reads", READS)
def test_what_the_head_reads(reads):
    network = difference(reads=reads)
    images = pairs()
    expected = outputs(network, images)
    swapped, same = images[:, ::-1], np.repeat(images[:, 1:], 2, axis=1)
    other_neutral = images.copy()
    other_neutral[:, 0] = 128
    close = {"rtol": 0, "atol": 1e-6}
    np.testing.assert_allclose(
        outputs(network, swapped)["difference"], -expected["difference"], **close
    )
    np.testing.assert_array_equal(outputs(network, same)["difference"], 0)
    sees_neutral = np.abs(outputs(network, other_neutral)["logits"] - expected["logits"]).max()
    assert (sees_neutral < 1e-6) == (reads == "face")
    turned = np.abs(outputs(network, swapped)["logits"] - expected["logits"]).max()
    assert (turned < 1e-6) == (reads == "absolute_difference")


def test_a_linear_probe_has_no_hidden_layer():
    network = difference(reads="face", hidden=[])
    assert trained(network) == 8 * 3 + 3
    assert network.output["embedding"].shape == (None, 8)


def test_the_second_stage_takes_the_embedding_of_the_first(tmp_path: Path):
    keras.utils.set_random_seed(0)
    first = build_network(
        "emotion_encoder", SHAPE, 3, encoder="compact", encoder_options=TINY,
        identity="compact", identity_options=TINY, hidden=[8],
    )  # fmt: skip
    method = build_method("cross_entropy", first, NAMES)
    save_network(method.network, tmp_path / "first.keras")
    loaded, _ = load_network(tmp_path / "first.keras")
    second = difference(encoder=loaded, reads="face")
    images = pairs()
    face = outputs(first, images[:, 1])["embedding"]
    neutral = outputs(first, images[:, 0])["embedding"]
    found = outputs(second, images)["difference"]
    np.testing.assert_allclose(found, face - neutral, rtol=0, atol=1e-6)
    save_network(build_method("cross_entropy", second, NAMES).network, tmp_path / "second.keras")
    again, _ = load_network(tmp_path / "second.keras")
    np.testing.assert_array_equal(outputs(again, images)["difference"], found)
    assert isinstance(again.get_layer("embeddings"), FrozenEncoder)
    assert trained(again) == trained(second)


def torch_resnet(width: int):
    """One block a stage of the VGGFace2 network, written from its description."""
    from torch import nn

    def bottleneck(inputs: int, filters: int, strides: int):
        block = nn.Module()
        block.conv1 = nn.Conv2d(inputs, filters, 1, stride=strides, bias=False)
        block.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        block.conv3 = nn.Conv2d(filters, 4 * filters, 1, bias=False)
        block.bn1, block.bn2, block.bn3 = (nn.BatchNorm2d(n * filters) for n in (1, 1, 4))
        block.downsample = nn.Sequential(
            nn.Conv2d(inputs, 4 * filters, 1, stride=strides, bias=False),
            nn.BatchNorm2d(4 * filters),
        )

        def forward(x):
            y = block.bn1(block.conv1(x)).relu()
            y = block.bn2(block.conv2(y)).relu()
            return (block.bn3(block.conv3(y)) + block.downsample(x)).relu()

        block.forward = forward
        return nn.Sequential(block)

    network = nn.Module()
    network.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
    network.bn1 = nn.BatchNorm2d(width)
    inputs = width
    for stage in range(4):
        filters = width * 2**stage
        strides = 1 if stage == 0 else 2
        setattr(network, f"layer{stage + 1}", bottleneck(inputs, filters, strides))
        inputs = 4 * filters
    network.fc = nn.Linear(inputs, 5)
    pool = nn.MaxPool2d(3, stride=2, padding=0, ceil_mode=True)

    def forward(x):
        x = pool(network.bn1(network.conv1(x)).relu())
        for stage in range(1, 5):
            x = getattr(network, f"layer{stage}")(x)
        return x.mean((2, 3))

    network.forward = forward
    return network


def test_vggface2_weights_give_what_they_give_in_torch(tmp_path: Path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = torch_resnet(4)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    arrays = {name: value.numpy() for name, value in theirs.state_dict().items()}
    np.savez(tmp_path / "weights.npz", **arrays)
    options = {"width": 4, "depths": (1, 1, 1, 1)}
    ours = build_encoder("resnet50_vggface2", (64, 64, 3), options)
    load_vggface2(ours, load_arrays(tmp_path / "weights.npz"))
    rgb = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    bgr = rgb[..., ::-1] - np.array([91.4953, 103.8827, 131.0912], np.float32)
    theirs.eval()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(bgr.transpose(0, 3, 1, 2).copy())).numpy()
    found = keras.ops.convert_to_numpy(ours(rgb, training=False))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())

    # As it is published: a pickle that Python 2 can read.
    file = tmp_path / "resnet50_ft_weight.pkl"
    file.write_bytes(pickle.dumps(arrays, protocol=2))
    named = {"encoder": "resnet50_vggface2", "encoder_weights": str(file)}
    again, note = with_encoders({**named, "encoder_options": options}, (64, 64, 3))
    assert "resnet50_ft_weight.pkl" in note
    for one, other in zip(again["encoder"].get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)

    without = {name: value for name, value in arrays.items() if name != "layer2.0.bn1.bias"}
    with pytest.raises(ModelFileError, match=r"layer2\.0\.bn1\.bias"):
        load_vggface2(ours, without)
    with pytest.raises(ModelFileError, match=r"conv1\.weight: expected \(7, 7, 3, 4\)"):
        load_vggface2(ours, {**arrays, "conv1.weight": arrays["conv1.weight"][:2]})
    with pytest.raises(ModelFileError, match=r"1 arrays belong to no layer.*layer5"):
        load_vggface2(ours, {**arrays, "layer5.0.conv1.weight": arrays["conv1.weight"]})


def test_arrays_with_objects_are_refused(tmp_path: Path):
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ModelFileError, match="numbers"):
        load_arrays(tmp_path / "objects.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "compakt"}, "Unknown encoder 'compakt'"),
        ({"encoder_weights": "imagenet"}, "imagenet for MobileNetV3"),
        ({"encoder": "mobilenet_v3_small", "encoder_options": {}}, "32 pixels"),
        ({"encoder": "resnet50_vggface2", "encoder_options": {"alpha": 1}}, "has the options"),
    ],
)
def test_what_cannot_be_built_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        difference(**options)


def test_encoders_must_fit_the_pictures():
    other = build_network("compact", (24, 24, 1), 3, **TINY)
    with pytest.raises(ConfigError, match=r"reads pictures \(24, 24, 1\)"):
        difference(encoder=other)
    blind = keras.Model(other.input, {"logits": other.output["logits"]})
    with pytest.raises(ConfigError, match="is no encoder"):
        difference(encoder=blind)


def test_pairs_and_single_pictures_are_told_apart():
    with pytest.raises(ConfigError, match=r"reads pairs .* dataset\.neutral=auto"):
        build_network("difference_of_embeddings", SHAPE, 3)
    with pytest.raises(ConfigError, match=r"reads single pictures.*dataset\.neutral=none"):
        build_network("compact", (2, *SHAPE), 3)


@pytest.mark.backends
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="there the layer is Keras' own")
def test_mobilenet_normalises_by_one_operation():
    built = build_encoder("mobilenet_v3_small", (32, 32, 3), {"alpha": 0.25})
    trunk = next(layer for layer in built.layers if isinstance(layer, keras.Model))
    kinds = {type(layer) for layer in trunk.layers if "BatchNorm" in type(layer).__name__}
    assert kinds == {FusedBatchNormalization}
    keras_own = keras.applications.MobileNetV3Small(
        input_shape=(32, 32, 3), alpha=0.25, include_top=False, weights=None, pooling="avg"
    )
    keras_own.set_weights(trunk.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")
    # In training forty layers divide by the deviation of a few values, which enlarges rounding.
    for training, tolerance in ((False, 1e-5), (True, 1e-4)):
        ours, theirs = (
            keras.ops.convert_to_numpy(each(images, training=training))
            for each in (built, keras_own)
        )
        np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=0)
    assert [w.name for w in trunk.weights] == [w.name for w in keras_own.weights]


# torchvision's table of MobileNetV3: kernel, expanded, out, squeeze-and-excitation.
_LARGE = (
    (3, 16, 16, 0), (3, 64, 24, 0), (3, 72, 24, 0), (5, 72, 40, 24), (5, 120, 40, 32),
    (5, 120, 40, 32), (3, 240, 80, 0), (3, 200, 80, 0), (3, 184, 80, 0), (3, 184, 80, 0),
    (3, 480, 112, 120), (3, 672, 112, 168), (5, 672, 160, 168), (5, 960, 160, 240),
    (5, 960, 160, 240),
)  # fmt: skip
_SMALL = (
    (3, 16, 16, 8), (3, 72, 24, 0), (3, 88, 24, 0), (5, 96, 40, 24), (5, 240, 40, 64),
    (5, 240, 40, 64), (5, 120, 48, 32), (5, 144, 48, 40), (5, 288, 96, 72), (5, 576, 96, 144),
    (5, 576, 96, 144),
)  # fmt: skip


def _seeded(name: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) > 1:
        return rng.standard_normal(shape) * np.sqrt(1.5 / np.prod(shape[1:]))
    if name.endswith(("running_var", ".1.weight")):
        return rng.uniform(0.5, 1.5, shape)
    return rng.uniform(-0.2, 0.2, shape)


def _torchvision_arrays(table: tuple[tuple[int, int, int, int], ...]) -> dict[str, np.ndarray]:
    """Random arrays under torchvision's names, in torchvision's layout."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv_and_norm(name: str, *kernel: int) -> None:
        shapes[f"{name}.0.weight"] = kernel
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.1.{part}"] = kernel[:1]

    conv_and_norm("features.0", 16, 3, 3, 3)
    inputs = 16
    for number, (kernel, expanded, outputs, squeezed) in enumerate(table, start=1):
        block, part = f"features.{number}.block", 0
        if expanded != inputs:
            conv_and_norm(f"{block}.{part}", expanded, inputs, 1, 1)
            part += 1
        conv_and_norm(f"{block}.{part}", expanded, 1, kernel, kernel)
        part += 1
        if squeezed:
            for fc, sides in (("fc1", (squeezed, expanded)), ("fc2", (expanded, squeezed))):
                shapes[f"{block}.{part}.{fc}.weight"] = (*sides, 1, 1)
                shapes[f"{block}.{part}.{fc}.bias"] = sides[:1]
            part += 1
        conv_and_norm(f"{block}.{part}", outputs, expanded, 1, 1)
        inputs = outputs
    conv_and_norm(f"features.{len(table) + 1}", 6 * inputs, inputs, 1, 1)
    return {name: _seeded(name, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("size", "table", "expected"),
    # By torchvision 0.28 with these weights, on these pictures normalised as its weights want.
    [
        (
            "large",
            _LARGE,
            [[0.738546, 0.772255, 1.637114, 1.24491], [1.115359, 0.487143, 3.458611, 1.054905]],
        ),
        (
            "small",
            _SMALL,
            [[-0.138979, 0.025517, 0.170395, -0.080079], [-0.141934, 0.02279, 0.171104, -0.081716]],
        ),
    ],
)
def test_mobilenet_of_torchvision(
    size: str, table: tuple[tuple[int, int, int, int], ...], expected: list[list[float]]
) -> None:
    arrays = _torchvision_arrays(table)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.float32)
    encoder = build_encoder(f"mobilenet_v3_{size}", (64, 64, 3), {"padding": "pytorch"})
    load_torchvision_mobilenet(encoder, {**arrays, "classifier.0.weight": np.zeros((2, 2))})
    found = keras.ops.convert_to_numpy(encoder(images, training=False))
    np.testing.assert_allclose(found[:2, :4], expected, atol=2e-5)
    # TensorFlow's borders are elsewhere: the reason for the option.
    other = build_encoder(f"mobilenet_v3_{size}", (64, 64, 3))
    load_torchvision_mobilenet(other, arrays)
    trunk = next(layer for layer in other.layers if isinstance(layer, keras.Model))
    plain = keras.Model(trunk.layers[1].output, trunk.output)
    normalised = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    apart = keras.ops.convert_to_numpy(plain(normalised.astype(np.float32), training=False))
    assert np.abs(apart - found).max() > 1e-3

    first = arrays["features.1.block.0.0.weight"]
    with pytest.raises(ModelFileError, match=r"1 arrays belong to no layer.*features\.99"):
        load_torchvision_mobilenet(encoder, {**arrays, "features.99.weight": first})
    del arrays["features.2.block.1.1.running_mean"]
    with pytest.raises(ModelFileError, match=r"features\.2\.block\.1\.1\.running_mean"):
        load_torchvision_mobilenet(encoder, arrays)


def test_a_torch_file_of_mobilenet_is_padded_as_in_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    arrays = _torchvision_arrays(_SMALL)
    file = tmp_path / "mobilenet_v3_small.pth"
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, file)
    named = {"encoder": "mobilenet_v3_small", "encoder_weights": str(file)}
    options, note = with_encoders(named, (64, 64, 3))
    assert "mobilenet_v3_small.pth" in note
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.float32)
    found = keras.ops.convert_to_numpy(options["encoder"](images, training=False))
    np.testing.assert_allclose(found[0, :2], [-0.138979, 0.025517], atol=2e-5)
    for padding, weights in (("pytorch", "imagenet"), ("same", "none")):
        with pytest.raises(ConfigError, match="padding"):
            build_encoder("mobilenet_v3_small", (64, 64, 3), {"padding": padding}, weights)
