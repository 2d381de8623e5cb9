"""What methods put on a network passes the trust boundary, and runs as built-in operators."""

from pathlib import Path

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ExportError
from fer_keras.conversion import tflite as conversion
from fer_keras.loading.keras_files import load_network, save_network
from fer_keras.methods import build_method

from .conftest import NAMES, build_tiny_network


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, keras.Model]:
    """The networks of methods with outputs or layers of their own, saved and read again."""
    folder = tmp_path_factory.mktemp("networks")
    found = {}
    for name in ("relative_uncertainty", "prototype"):
        keras.utils.set_random_seed(0)
        path = folder / f"{name}.keras"
        save_network(build_method(name, build_tiny_network(), NAMES).network, path)
        found[name], _ = load_network(path)
    return found


@pytest.mark.parametrize("name", ["relative_uncertainty", "prototype"])
def test_probabilities_are_those_of_keras(networks, pictures, name) -> None:
    x = pictures[0].astype(np.uint8)
    deploy = conversion.deploy_graph(networks[name], 1.5)
    data = conversion.convert(conversion.frozen_function(deploy), "float32")
    expected = deploy.predict_on_batch(x.astype(np.float32))
    np.testing.assert_allclose(conversion.tflite_probabilities(data, x), expected, atol=1e-5)


def test_the_uncertainty_is_exported_beside_the_probabilities(
    networks, pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    x = pictures[0].astype(np.uint8)
    network = networks["relative_uncertainty"]
    deploy = conversion.deploy_graph(network, 1.5)
    name = conversion.write_uncertainty_file(network, deploy, tmp_path, x)
    data = (tmp_path / name).read_bytes()
    interpreter = Interpreter(model_content=data)
    shapes = sorted(tuple(output["shape"]) for output in interpreter.get_output_details())
    assert shapes == [(1, 1), (1, 4)]

    # What is compared on writing is compared indeed.
    head = network.get_layer("log_variance")
    head.beta.assign(head.beta + 0.01)
    monkeypatch.setattr(conversion, "convert", lambda *_: data)
    with pytest.raises(ExportError, match="uncertainty of"):
        conversion.write_uncertainty_file(network, deploy, tmp_path, x)
