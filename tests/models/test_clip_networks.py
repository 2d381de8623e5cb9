"""Networks over clips: padding, the order of the frames, the cut between encoder and head."""

from importlib import import_module

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.conversion.clips import cut
from fer_keras.loading.classifier import from_network
from fer_keras.loading.keras_files import load_network, save_network
from fer_keras.models import build_network, list_networks
from fer_keras.models.layers import with_class_names

NAMES = ("onset", "offset", "fast_onset")
NETWORKS = list_networks("clip_*")
SIDE = 16


def build(name, frames=6, **options):
    keras.utils.set_random_seed(0)
    small = import_module(f"fer_keras.models.{name}").SMALL
    network = build_network(name, (frames, SIDE, SIDE, 1), len(NAMES), **{**small, **options})
    for variable in network.variables:
        # Fresh biases and statistics would hide what padding does to them.
        noise = np.random.default_rng(len(variable.path)).uniform(0, 0.3, variable.shape)
        variable.assign(keras.ops.convert_to_numpy(variable) + noise.astype("float32"))
    return with_class_names(network, NAMES)


def clips(number=3, frames=6, real=6):
    shape = (number, frames, SIDE, SIDE, 1)
    pixels = np.random.default_rng(1).integers(1, 256, shape, dtype=np.uint8)
    pixels[:, real:] = 0
    return pixels


def outputs(network, images):
    found = network(images, training=False)
    return {name: keras.ops.convert_to_numpy(value) for name, value in found.items()}


def test_there_are_four():
    assert set(NETWORKS) == {"clip_lstm", "clip_mean", "clip_r2plus1d", "clip_transformer"}


@pytest.mark.parametrize("name", NETWORKS)
def test_more_padding_changes_nothing(name):
    short, long = build(name, 6), build(name, 9)
    for mine, theirs in zip(long.variables, short.variables, strict=True):
        value = keras.ops.convert_to_numpy(theirs)
        if mine.shape != theirs.shape:  # Places of the transformer: those of later frames are free.
            rest = np.full((1, 3, value.shape[2]), 5.0, np.float32)
            value = np.concatenate([value, rest], axis=1)
        mine.assign(value)
    padded = clips(real=4)
    longer = np.concatenate([padded, np.zeros_like(padded[:, :3])], axis=1)
    expected, found = outputs(short, padded), outputs(long, longer)
    assert expected["frame_mask"].tolist() == [[1, 1, 1, 1, 0, 0]] * 3
    for output in ("logits", "embedding"):
        np.testing.assert_allclose(found[output], expected[output], rtol=1e-4, atol=1e-5)
    of_frames = expected["frame_logits"][:, :4]
    np.testing.assert_allclose(found["frame_logits"][:, :4], of_frames, rtol=1e-4, atol=1e-5)
    # A clip of other real frames has another answer: the network is not deaf.
    other = outputs(short, clips(real=3))["logits"]
    assert np.abs(other - expected["logits"]).max() > 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_what_stands_in_padding_is_not_seen(name):
    """Behind the encoder, where padding is what the encoder makes of black or anything else."""
    parts = cut(build(name), 1.0)
    images = clips(real=4).astype(np.float32)
    features, mask = parts.head.inputs
    encoded = parts.encoder(images.reshape(-1, SIDE, SIDE, 1), training=False)
    encoded = keras.ops.convert_to_numpy(encoded).reshape(3, 6, *features.shape[2:])
    real = np.repeat([[1, 1, 1, 1, 0, 0]], 3, axis=0).astype(np.float32)
    assert mask.shape == (None, 6)
    by_hand, frames = parts.head([encoded, real], training=False)
    whole, _ = parts.whole(images, training=False)
    np.testing.assert_allclose(by_hand, whole, rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.asarray(frames).sum(axis=2), 1, atol=1e-5)
    encoded[:, 4:] = 100.0
    anything, _ = parts.head([encoded, real], training=False)
    np.testing.assert_allclose(anything, by_hand, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_only_the_control_is_blind_to_the_order(name):
    network, images = build(name), clips()
    forwards, backwards = outputs(network, images), outputs(network, images[:, ::-1])
    difference = np.abs(forwards["logits"] - backwards["logits"]).max()
    if name == "clip_mean":
        assert difference < 1e-4
        mean = forwards["frame_logits"].mean(axis=1)
        np.testing.assert_allclose(forwards["logits"], mean, rtol=1e-4, atol=1e-5)
    else:
        assert difference > 1e-4


def test_an_lstm_s_frame_has_seen_those_before_it():
    network, images = build("clip_lstm"), clips()
    before = outputs(network, images)
    images[:, 4:] = 255 - images[:, 4:]
    after = outputs(network, images)
    same = after["frame_logits"][:, :4], before["frame_logits"][:, :4]
    np.testing.assert_allclose(*same, rtol=0, atol=1e-6)
    assert np.abs(after["frame_logits"][:, 4:] - before["frame_logits"][:, 4:]).max() > 1e-4
    weighted = np.einsum("bt,btc->bc", before["attention"], before["frame_logits"])
    np.testing.assert_allclose(before["logits"], weighted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["clip_lstm", "clip_transformer"])
def test_attention_leaves_padding_out(name):
    attention = outputs(build(name), clips(real=4))["attention"]
    assert (attention[:, 4:] == 0).all()
    assert (attention[:, :4] > 0).all()
    assert (attention.sum(axis=1) < 1 + 1e-5).all()


@pytest.mark.parametrize("name", ["clip_lstm", "clip_mean"])
def test_a_frozen_encoder_is_not_trained_and_is_saved(name, tmp_path):
    network = build(name, train_encoder=False)
    encoder = network.get_layer("frame_features").layer
    assert not encoder.trainable_variables
    assert network.trainable_variables
    save_network(network, tmp_path / "network.keras")
    loaded, _ = load_network(tmp_path / "network.keras")
    assert not loaded.get_layer("frame_features").layer.trainable_variables
    images = clips()
    training = loaded(images, training=True)["frame_mask"]
    assert training.shape == (3, 6)
    np.testing.assert_array_equal(
        outputs(loaded, images)["logits"], outputs(network, images)["logits"]
    )


def test_a_network_in_memory_scores_clips_and_frames():
    network, images = build("clip_mean"), clips(5, real=4)
    model = from_network(network)
    assert (model.input_kind, model.num_pictures, model.image_shape) == ("clip", 6, (16, 16, 1))
    expected = outputs(network, images)
    np.testing.assert_allclose(model.logits(images, 2), expected["logits"], atol=1e-5)
    found = model.frame_scores(images, 2)
    np.testing.assert_allclose(found, expected["frame_logits"], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("clip_lstm", (16, 16, 1), r"reads clips.*dataset\.clip_frames=12"),
        ("clip_lstm", (2, 16, 16, 1), "reads clips"),
        ("compact", (6, 16, 16, 1), r"reads single pictures.*dataset\.clip_frames=0"),
        ("difference_of_embeddings", (6, 16, 16, 1), "reads pairs"),
        ("clip_mean", (6, 16, 16, 2), "1 or 3 channels"),
    ],
)
def test_what_is_no_clip_is_refused(name, shape, message):
    with pytest.raises(ConfigError, match=message):
        build_network(name, shape, 3)


def test_heads_must_divide_the_channels():
    with pytest.raises(ConfigError, match=r"multiple of heads=4. Received: hidden=6"):
        build_network("clip_transformer", (6, 16, 16, 1), 3, hidden=6, heads=4)
