"""ViT_SE: parameters part by part, tokens and positions, and both gates in both places."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.conversion import tflite as conversion
from fer_keras.loading.tflite_files import load_tflite_bytes
from fer_keras.models.vit_se import SMALL, ClassToken, PositionEmbedding, build

IMAGES = np.random.default_rng(0).uniform(0, 255, (3, 16, 24, 1)).astype("float32")


def small(seed: int = 0, **options: Any) -> Any:
    keras.utils.set_random_seed(seed)
    return build((16, 24, 1), 4, **{**SMALL, **options})


def answers(network: Any, *names: str) -> dict[str, np.ndarray]:
    """The outputs on `IMAGES`, and those of the named layers."""
    inner = {name: network.get_layer(name).output for name in names}
    outputs = keras.Model(network.input, {**network.output, **inner})(IMAGES, training=False)
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}


def dense(network: Any, name: str, x: np.ndarray) -> np.ndarray:
    kernel, bias = network.get_layer(name).get_weights()
    return x @ kernel + bias


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_parts_have_the_published_numbers_of_parameters() -> None:
    # ViT-B/16 with one of its twelve blocks, each of which has 7,087,872.
    network = build((224, 224, 3), 8, depth=1)
    parts = {"pooler": 590_592, "gate_reduce": 147_648, "gate": 148_224, "logits": 6_152}
    assert {name: network.get_layer(name).count_params() for name in parts} == parts
    assert parts["gate_reduce"] + parts["gate"] == 295_872
    encoder = network.count_params() - sum(parts.values())
    assert encoder + 11 * 7_087_872 == 85_798_656
    assert network.get_layer("positions").output.shape == (None, 197, 768)
    assert network.output["features"].shape == (None, 14, 14, 768)


@pytest.mark.backends
def test_the_class_token_comes_first_and_positions_are_added() -> None:
    tokens = np.random.default_rng(1).normal(size=(2, 3, 4)).astype("float32")
    layer, positions = ClassToken(), PositionEmbedding()
    layer.build((None, 3, 4))
    layer.token.assign(np.arange(4, dtype="float32").reshape(1, 1, 4))
    found = keras.ops.convert_to_numpy(layer(tokens))
    np.testing.assert_array_equal(found[:, 0], [[0, 1, 2, 3]] * 2)
    np.testing.assert_array_equal(found[:, 1:], tokens)
    assert layer.compute_output_shape((None, 3, 4)) == (None, 4, 4)

    placed = keras.ops.convert_to_numpy(positions(found))
    table = keras.ops.convert_to_numpy(positions.positions)
    assert table.shape == (1, 4, 4)
    assert np.abs(table).max() > 0
    np.testing.assert_allclose(placed, found + table, rtol=1e-6)


def test_features_lie_where_their_patches_lie() -> None:
    network = small()
    for block in (1, 2):
        # Without attention no token sees another.
        attention = network.get_layer(f"block{block}_attention")
        attention.set_weights([weights * 0 for weights in attention.get_weights()])
    before = keras.ops.convert_to_numpy(network(IMAGES, training=False)["features"])
    changed = IMAGES.copy()
    changed[:, 8:16, 16:24] = 0
    after = keras.ops.convert_to_numpy(network(changed, training=False)["features"])
    assert before.shape == (3, 2, 3, 32)
    changes = np.abs(after - before).max(axis=-1) > 1e-6
    assert changes.tolist() == [[[False] * 3, [False, False, True]]] * 3


@pytest.mark.parametrize("gate", ["sigmoid", "relu"])
def test_the_pooled_vector_is_gated_by_itself(gate: str) -> None:
    network = small(gate=gate, gate_on="class_token")
    found = answers(network, "encoder_norm")
    pooled = np.tanh(dense(network, "pooler", found["encoder_norm"][:, 0]))
    excited = dense(network, "gate", np.maximum(dense(network, "gate_reduce", pooled), 0))
    excited = sigmoid(excited) if gate == "sigmoid" else np.maximum(excited, 0)
    np.testing.assert_allclose(found["embedding"], pooled * excited, atol=1e-5)
    tokens = found["encoder_norm"][:, 1:].reshape(found["features"].shape)
    np.testing.assert_array_equal(found["features"], tokens)


def test_the_gate_on_tokens_uses_the_mean_over_the_patch_tokens() -> None:
    network = small(gate_on="tokens")
    found = answers(network, "encoder_norm")
    tokens = found["encoder_norm"]
    squeezed = tokens[:, 1:].mean(axis=1)
    excited = np.maximum(dense(network, "gate_reduce", squeezed), 0)
    excited = sigmoid(dense(network, "gate", excited))
    gated = tokens * excited[:, None]
    np.testing.assert_allclose(
        found["features"], gated[:, 1:].reshape(found["features"].shape), atol=1e-5
    )
    embedding = np.tanh(dense(network, "pooler", gated[:, 0]))
    np.testing.assert_allclose(found["embedding"], embedding, atol=1e-5)


@pytest.mark.parametrize("gate_on", ["class_token", "tokens"])
def test_both_gates_have_the_same_weights_and_differ(gate_on: str) -> None:
    logits, parameters = [], []
    for gate in ("sigmoid", "relu"):
        network = small(gate=gate, gate_on=gate_on)
        logits.append(answers(network)["logits"])
        parameters.append(network.count_params())
    assert parameters[0] == parameters[1]
    assert np.abs(logits[0] - logits[1]).max() > 1e-3


@pytest.mark.parametrize("gate_on", ["class_token", "tokens"])
def test_a_dead_relu_gate_gives_the_same_finite_answer_for_all(gate_on: str) -> None:
    network = small(gate="relu", gate_on=gate_on)
    gate = network.get_layer("gate")
    kernel, bias = gate.get_weights()
    gate.set_weights([kernel * 0, bias - 1])
    network.get_layer("logits").bias.assign([1.0, 2.0, 3.0, 4.0])
    logits = answers(network)["logits"]
    assert np.isfinite(logits).all()
    np.testing.assert_array_equal(logits, np.tile(logits[:1], (3, 1)))
    if gate_on == "class_token":
        np.testing.assert_array_equal(logits[0], [1, 2, 3, 4])


@pytest.mark.parametrize("options", [{"patch_size": 7}, {"heads": 5}, {"reduction": 5}])
def test_sizes_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"Expected .* Received: "):
        small(**options)


def test_it_becomes_a_file_of_built_in_operators() -> None:
    deploy = conversion.deploy_graph(small(), 1.5)
    expected = deploy.predict(IMAGES, verbose=0)
    frozen = conversion.frozen_function(deploy)
    for precision, limit in (("float32", 1e-5), ("dynamic", 0.05)):
        # Reading it back refuses operators that are not built in.
        data = conversion.convert(frozen, precision)
        run, _, _ = load_tflite_bytes(data, Path("vit_se"))
        found = np.concatenate([run(image[None]) for image in IMAGES])
        assert np.abs(found - expected).max() < limit
