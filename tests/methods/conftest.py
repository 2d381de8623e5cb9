"""A tiny network with every named output, and pictures for it."""

import keras
import numpy as np
import pytest

from fer_keras.data.samples import Samples

NAMES = ("anger", "fear", "happiness", "surprise")


def build_tiny_network(num_classes: int = len(NAMES), *, regularizer: str | None = None):
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Rescaling(1 / 128, offset=-1.0, name="scale")(image)
    features = keras.layers.Conv2D(
        6, 3, use_bias=False, activation="gelu", kernel_regularizer=regularizer, name="features"
    )(x)
    embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(features)
    dropped = keras.layers.Dropout(0.1, name="dropout")(embedding)
    logits = keras.layers.Dense(num_classes, name="logits")(dropped)
    # Without weights of its own too: no other method would move them.
    affect = keras.layers.Activation("tanh", name="affect")(logits[:, :2])
    # Two heads without weights of their own, which would be still in methods that use no heads.
    maps = keras.layers.Activation("sigmoid", name="maps")(features)
    split = keras.layers.Reshape((6, 6, 2, 3), name="split")(maps)
    attention = keras.layers.Permute((3, 1, 2, 4), name="attention")(split)
    outputs = {
        "logits": logits,
        "embedding": embedding,
        "features": features,
        "attention": attention,
        "identity_embedding": keras.layers.Activation("tanh", name="identity")(embedding),
        "branch_logits": keras.layers.RepeatVector(2, name="branch_logits")(logits),
        "frame_logits": keras.layers.RepeatVector(2, name="frame_logits")(logits),
        "frame_mask": keras.ops.ones_like(embedding[:, :2]),
        "valence_arousal": affect,
        "branch_valence_arousal": keras.layers.RepeatVector(2, name="branch_affect")(affect),
    }
    return keras.Model(image, outputs, name="tiny")


def as_samples(x, y):
    """Pictures and targets as a training split."""
    columns = {name: np.array([name] * len(x)) for name in ("source", "sha256", "subject")}
    return Samples("x", "train", NAMES, "hard", x.astype(np.uint8), y, columns)


@pytest.fixture
def tiny_network():
    keras.utils.set_random_seed(0)
    return build_tiny_network()


@pytest.fixture(scope="session")
def pictures():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, size=(10, 8, 8, 1)).astype(np.float32)
    y = np.eye(len(NAMES), dtype=np.float32)[np.arange(10) % len(NAMES)]
    return x, y
