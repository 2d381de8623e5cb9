"""One checkpoint, three backends: the same training goes on from it on each."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fer_keras.methods import build_method
from fer_keras.training.checkpoint import (
    Progress,
    load_checkpoint,
    save_checkpoint,
    state_variables,
)
from fer_keras.training.run_folder import stored_backend

NAMES = ("neutral", "happiness", "anger")
# Relative, over five steps: float32 rounding differs between the backends' convolutions.
TOLERANCE = 1e-4
# Losses of five steps from the checkpoint below, on TensorFlow; the other backends must meet them.
GOLDEN = {
    "cross_entropy": [1.1213956, 1.1114361, 1.1211826, 1.0921135, 1.1210008],
    "word2vec": [0.4784479, 0.4456997, 0.4680859, 0.4236355, 0.4686487],
}


def small_method(name: str) -> Any:
    """Convolution, batch norm, depthwise convolution, dropout that drops nothing."""
    image = keras.Input((12, 12, 1))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(8, 3, use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.SeparableConv2D(8, 3, padding="same")(x)
    x = keras.layers.Dropout(0.0, seed=0)(x)
    embedding = keras.layers.GlobalAveragePooling2D()(x)
    logits = keras.layers.Dense(len(NAMES))(embedding)
    network = keras.Model(image, {"logits": logits, "embedding": embedding})
    method = build_method(name, network, NAMES)
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.01)
    method.compile(optimizer=optimizer, jit_compile=keras.backend.backend() == "jax")
    method.optimizer.build(method.trainable_variables)
    return method


def numpy_checkpoint(folder: Path, method: Any) -> None:
    """A state in the middle of a training that no backend has written."""
    rng = np.random.default_rng(7)
    for name, variable in sorted(state_variables(method).items()):
        if name.startswith("metric"):
            continue
        values = rng.uniform(0.01, 0.2, variable.shape)
        role = name.split("|")[1]
        if role == "kernel":
            values = rng.normal(0, 0.3, variable.shape)
        if np.issubdtype(np.dtype(str(variable.dtype).split(".")[-1]), np.floating):
            if tuple(variable.shape) == ():
                continue  # The learning rate.
            variable.assign(values.astype("float32"))
    method.optimizer.iterations.assign(40)
    save_checkpoint(folder, method, Progress(step=40, seconds=1.0))


@pytest.mark.backends
@pytest.mark.parametrize("name", list(GOLDEN))
def test_a_checkpoint_goes_on_alike_on_every_backend(name: str, tmp_path: Path) -> None:
    method = small_method(name)
    numpy_checkpoint(tmp_path / "checkpoint", method)
    before = {
        k: np.asarray(keras.ops.convert_to_numpy(v)) for k, v in state_variables(method).items()
    }
    for variable in method.trainable_variables:
        variable.assign(np.zeros(variable.shape, "float32"))
    assert load_checkpoint(tmp_path / "checkpoint", method) == Progress(step=40, seconds=1.0)
    assert stored_backend(tmp_path) == keras.backend.backend()
    for key, variable in state_variables(method).items():
        np.testing.assert_array_equal(before[key], keras.ops.convert_to_numpy(variable))
    rng = np.random.default_rng(3)
    losses = []
    for _ in range(5):
        labels = rng.integers(0, 3, 16)
        noise = rng.normal(0, 20, (16, 12, 12, 1))
        images = np.clip(60 + 60 * labels[:, None, None, None] + noise, 0, 255).astype("uint8")
        method.reset_metrics()
        logs = method.train_on_batch(images, np.eye(3, dtype="float32")[labels], return_dict=True)
        losses.append(float(logs["loss"]))
    print(name, losses)
    np.testing.assert_allclose(losses, GOLDEN[name], rtol=TOLERANCE)
    assert int(method.optimizer.iterations) == 45
