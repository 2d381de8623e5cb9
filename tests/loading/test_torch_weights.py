"""Weights of a PyTorch DDAMFN: the same answers here as there; what does not fit is refused."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.models import build_network
from fer_keras.training.start import load_start

torch = pytest.importorskip("torch")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIDE, WIDTH, DEPTHS, CLASSES = 32, 1 / 8, (1, 1, 2), ("anger", "fear", "happiness")


@pytest.fixture(scope="module")
def networks() -> Iterator[Any]:
    """The file with the PyTorch versions of networks."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import torch_networks

        yield torch_networks
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def theirs(networks: Any) -> Any:
    """A twin whose parameters and statistics are all different from those of a fresh network."""
    torch.manual_seed(0)
    twin = networks.Ddamfn(len(CLASSES), WIDTH, DEPTHS, side=SIDE).eval()
    with torch.no_grad():
        for tensor in twin.state_dict().values():
            if tensor.ndim == 1:
                tensor.uniform_(0.5, 1.5)
    return twin


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (2, SIDE, SIDE, 3)).astype("float32")


def build(**options: Any) -> Any:
    keras.utils.set_random_seed(0)
    options = {"width": WIDTH, "depths": DEPTHS, **options}
    return build_network("ddamfn", (SIDE, SIDE, 3), len(CLASSES), **options)


def map_of(network: Any, pictures: np.ndarray, name: str) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(network(pictures, training=False)[name]))


def their_map(twin: Any, pictures: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        found = twin.features(x * twin.scale + twin.offset)
    return found.numpy().transpose(0, 2, 3, 1)


def as_the_authors_save_it(twin: Any, *, numbered: bool) -> dict[str, Any]:
    """With what their program creates and never uses, and parts by number as in a `Sequential`."""
    tensors = {}
    parts = {name: str(i) for i, name in enumerate(dict(twin.features.named_children()))}
    for name, tensor in twin.state_dict().items():
        head, _, rest = name.removeprefix("features.").partition(".")
        if name.startswith("features.") and numbered:
            name = f"features.{parts[head]}.{rest}"
        tensors[name] = tensor
        if "mixed_depthwise_conv.0" in name:
            module = name.split(".mixed")[0]
            tensors[f"{module}.bn.weight"] = tensors[f"{module}.prelu.weight"] = torch.ones(4)
    tensors["cat_head0.CoordAtt.Linear.conv.weight"] = torch.ones(4, 1, 7, 7)
    tensors["bn.weight"] = torch.ones(3)
    return tensors


def test_the_whole_network(theirs: Any, pictures: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "ddamfn.pth"
    tensors = as_the_authors_save_it(theirs, numbered=True)
    torch.save({"epoch": 3, "model_state_dict": tensors}, file)
    ours = build()
    line = load_start(ours, CLASSES, str(file))
    assert line.endswith("fresh: logits")
    np.testing.assert_allclose(
        map_of(ours, pictures, "mfn_features"), their_map(theirs, pictures), atol=2e-4, rtol=1e-3
    )
    kernel = theirs.fc.weight.detach().numpy().T
    bias = theirs.fc.bias.detach().numpy()
    ours.get_layer("logits").set_weights([kernel, bias])
    with torch.no_grad():
        logits = theirs(torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(map_of(ours, pictures, "logits"), logits, atol=2e-4, rtol=1e-3)


def test_the_backbone_alone(theirs: Any, pictures: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "mfn.pt"
    # With the tail of face recognition, which reads another thing than faces' expressions.
    tail = {"conv_6_dw.conv.weight": torch.ones(64, 1, 7, 7), "linear.weight": torch.ones(8, 64)}
    torch.save({**theirs.features.state_dict(), **tail}, file)
    ours = build(num_heads=3)
    before = map_of(ours, pictures, "mfn_features")
    line = load_start(ours, CLASSES, str(file))
    after = map_of(ours, pictures, "mfn_features")
    assert np.abs(after - before).max() > 0.1
    np.testing.assert_allclose(after, their_map(theirs, pictures), atol=2e-4, rtol=1e-3)
    assert "mfn.pt" in line
    assert "head3_rows" in line.split("fresh: ")[1]
    # Keras' own file of the same weights does the same.
    backbone = keras.Model(ours.input, ours.output["mfn_features"])
    backbone.save_weights(tmp_path / "mfn.weights.h5")
    again = build()
    line = load_start(again, CLASSES, str(tmp_path / "mfn.weights.h5"))
    assert "pool" in line.split("fresh: ")[1]
    np.testing.assert_array_equal(map_of(again, pictures, "mfn_features"), after)


def test_what_does_not_fit_is_refused_and_changes_nothing(theirs: Any, tmp_path: Path) -> None:
    file = tmp_path / "mfn.pt"
    tensors = dict(theirs.features.state_dict())

    network = build()

    def refused(changed: dict[str, Any], message: str) -> None:
        torch.save(changed, file)
        before = network.get_weights()
        with pytest.raises(ModelFileError, match=message):
            load_start(network, CLASSES, str(file))
        for one, other in zip(before, network.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)

    name = "conv_5.model.1.project.conv.weight"
    refused({n: t for n, t in tensors.items() if n != name}, f"1 tensors are missing: {name}")
    refused(
        {**tensors, "conv_4.model.1.conv.conv.weight": torch.ones(1)},
        r"1 have no place: conv_4\.model\.1\.conv\.conv\.weight",
    )
    refused({**tensors, name: tensors[name].transpose(0, 1)}, f"1 have another shape: {name}")
    torch.save(tensors, file)
    with pytest.raises(ConfigError, match="are read for ddamfn, esr"):
        load_start(build_network("compact", (SIDE, SIDE, 3), 3), CLASSES, str(file))


def test_the_classifier_is_taken_by_the_names_of_its_classes(theirs: Any, tmp_path: Path) -> None:
    file = tmp_path / "ddamfn.pth"
    torch.save({"model_state_dict": as_the_authors_save_it(theirs, numbered=True)}, file)
    kernel = theirs.fc.weight.detach().numpy().T
    ours = build()
    line = load_start(ours, CLASSES, f"ddamfn:fear,happiness,anger={file}")
    assert "fresh" not in line
    np.testing.assert_array_equal(ours.get_layer("logits").get_weights()[0], kernel[:, [2, 0, 1]])
    line = load_start(ours, CLASSES, f"ddamfn:fear,happiness,neutral={file}")
    assert line.endswith("fresh: logits")
    with pytest.raises(ConfigError, match="order of the classes in the file"):
        load_start(ours, CLASSES, f"ddamfn:affectnet={file}")


def test_a_pickled_module_is_read(theirs: Any, tmp_path: Path) -> None:
    # As `MFN_msceleb.pth` is saved, in the older format.
    file = tmp_path / "MFN.pth"
    torch.save(theirs.features, file, _use_new_zipfile_serialization=False)
    ours = build()
    load_start(ours, CLASSES, str(file))
    again = build()
    torch.save(theirs.features.state_dict(), file)
    load_start(again, CLASSES, str(file))
    for one, other in zip(ours.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_plain_network_has_the_published_parameters(networks: Any) -> None:
    # As ours: tests/models/test_ddamfn.py.
    network = networks.ddamfn(8)
    count = sum(p.numel() for p in network.parameters())
    backbone = sum(p.numel() for p in network.features.parameters())
    assert (count, backbone) == (4_106_512, 4_006_568)
