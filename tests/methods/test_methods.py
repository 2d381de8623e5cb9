"""What every method promises, and how methods are looked up. New files are found by themselves."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.methods import build_method, list_methods
from fer_keras.models.layers import class_names_of, with_class_names

from .conftest import NAMES, as_samples, build_tiny_network

# Op by op, JAX would compile every one of them.
JIT = keras.backend.backend() == "jax"


def build(name, network):
    """The method with what it cannot do without."""
    other = with_class_names(build_tiny_network(), NAMES)
    needed = {
        "binary_cross_entropy": {"none_class": NAMES[0]},
        "distillation": {"teacher": other},
        "multi_teacher": {"teachers": [other]},
        "neighbour_distribution": {"auxiliary": other, "neighbours": 3},
    }
    return build_method(name, network, NAMES, **needed.get(name, {}))


def fed(method, x, y):
    """What `fit` is given, after the method has seen the training split."""
    method.prepare(as_samples(x, y))
    return (x, np.arange(len(x), dtype=np.int32)) if method.needs_rows else x


def targets(method, y):
    """What the method learns beside the classes stands behind them."""
    return np.hstack([y, np.full((len(y), len(method.target_facts)), 0.5, np.float32)])


def arrays(variables):
    return [keras.ops.convert_to_numpy(v.value).copy() for v in variables]


@pytest.mark.backends
@pytest.mark.parametrize("name", list_methods())
def test_it_moves_every_trainable_variable_and_the_network_alone_is_saved(
    name, tiny_network, pictures, tmp_path
):
    """With weights and a partial batch. One test, for every compiled function takes seconds."""
    x, y = pictures
    soft = 0.8 * y + 0.2 / len(NAMES)
    weight = np.linspace(0.5, 2, len(x)).astype(np.float32)
    batch_size = len(x) if JIT else 4  # JAX compiles a partial batch anew.
    method = build(name, tiny_network)
    assert method.trainable_variables
    before = arrays(method.trainable_variables)
    method.compile(optimizer=keras.optimizers.SGD(0.5), jit_compile=JIT)
    feed, soft = fed(method, x, soft), targets(method, soft)
    history = method.fit(
        feed, soft, sample_weight=weight, batch_size=batch_size, epochs=1, verbose=0
    ).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert 0 <= history["accuracy"][0] <= 1
    for variable, old in zip(method.trainable_variables, before, strict=True):
        new = keras.ops.convert_to_numpy(variable.value)
        assert np.isfinite(new).all(), variable.path
        assert np.abs(new - old).max() > 0, f"no gradient reaches {variable.path}"
    if JIT and name not in ("cross_entropy", "word2vec"):
        return  # Two are enough to see that JAX evaluates and saves.

    result = method.evaluate(
        x, targets(method, y), batch_size=batch_size, verbose=0, return_dict=True
    )
    assert np.isfinite(list(result.values())).all()
    expected = method.predict(x, verbose=0)
    accuracy = float(np.mean(expected["logits"].argmax(-1) == y.argmax(-1)))
    assert result["accuracy"] == pytest.approx(accuracy)

    assert class_names_of(method.network) == NAMES
    assert {v.path for v in method.network.variables} <= {v.path for v in method.variables}
    path = tmp_path / "network.keras"
    method.network.save(path)
    loaded = keras.saving.load_model(path, safe_mode=True, compile=False)
    received = loaded.predict(x, verbose=0)
    assert sorted(expected) == sorted(received)
    for output, value in expected.items():
        np.testing.assert_array_equal(received[output], value)
    assert class_names_of(loaded) == NAMES


def test_methods_are_found_by_name():
    assert {"cross_entropy", "label_distribution", "word2vec"} <= set(list_methods())
    assert "base" not in list_methods()


def test_listing_imports_no_keras():
    code = (
        "import sys, fer_keras.methods as m; m.list_methods();"
        "sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["cross_entropi", "base", "os", "../x", ""])
def test_unknown_method(name, tiny_network):
    with pytest.raises(ConfigError, match=r"Unknown method .*cross_entropy"):
        build_method(name, tiny_network, NAMES)


def test_unknown_option_names_the_nearest(tiny_network):
    with pytest.raises(ConfigError, match=r"no option 'smoothing'. .*label_smoothing"):
        build_method("cross_entropy", tiny_network, NAMES, smoothing=0.1)
    with pytest.raises(ConfigError, match="no option 'name'"):
        build_method("word2vec", tiny_network, NAMES, name="x")
