"""Authors' weights give the authors' answers: golden logits, by files in the authors' layout.

The logits were computed by the authors' own programs (PyTorch 2.13, CPU, float32) with the state
dicts of `authors_tensors.py` and the pictures of `authors_tensors.pictures`.
"""

import json
import pickle
from pathlib import Path
from typing import Any

import authors_tensors
import keras
import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.loading.published import FAMILIES, published_spec, read_published
from fer_keras.models import build_network
from fer_keras.training.start import load_start

Tensors = dict[str, np.ndarray]

GOLDEN = json.loads(Path(__file__).with_name("golden_logits.json").read_text("utf-8"))
# Where the running variances lie, so that logits have a usual size.
VARIANCE = {"ddamfn": 2.2, "manet": 1.5, "vgg19": 0.8, "resnet18": 1.5, "esr9_cbam": 0.06}


def write(tensors: Tensors, path: Path) -> Path:
    """A pickle of arrays: the formats of PyTorch are the subject of `test_torch_files.py`."""
    path.write_bytes(pickle.dumps(tensors))
    return path


def write_esr(tensors: Tensors, folder: Path) -> Path:
    folder.mkdir()
    for part in {name.partition(".")[0] for name in tensors}:
        file = "Net-Base-Shared_Representations.pt"
        if part != "base":
            file = f"Net-Branch_{part.removeprefix('branch')}.pt"
        mine = {n.partition(".")[2]: t for n, t in tensors.items() if n.startswith(f"{part}.")}
        write(mine, folder / file)
    return folder


def outputs(network: Any, pictures: np.ndarray) -> dict[str, np.ndarray]:
    answers = network(pictures.astype("float32"), training=False)
    return {name: keras.ops.convert_to_numpy(value) for name, value in answers.items()}


@pytest.mark.parametrize(("num_heads", "labels"), [(2, "rafdb"), (4, "affectnet8")])
def test_ddamfn(num_heads: int, labels: str, tmp_path: Path) -> None:
    shapes = authors_tensors.ddamfn(7 if labels == "rafdb" else 8, num_heads)
    tensors = authors_tensors.values(shapes, variance=VARIANCE["ddamfn"])
    file = write({f"module.{name}": array for name, array in tensors.items()}, tmp_path / "a.pth")
    found = read_published(file, "ddamfn", labels)
    assert found.class_names[:4] == ("neutral", "happiness", "sadness", "surprise")
    logits = outputs(found.network, authors_tensors.pictures(112))["logits"]
    np.testing.assert_allclose(logits, GOLDEN[f"ddamfn{num_heads}"], atol=5e-5)


@pytest.mark.parametrize("network", ["manet", "manet_diversified"])
def test_manet(network: str, tmp_path: Path) -> None:
    tensors = authors_tensors.values(authors_tensors.manet(7), variance=VARIANCE["manet"])
    found = read_published(write(tensors, tmp_path / "a.pth.tar"), network, "rafdb")
    first = {"manet": "neutral", "manet_diversified": "surprise"}[network]
    assert found.class_names[0] == first
    logits = outputs(found.network, authors_tensors.pictures(224))["logits"]
    np.testing.assert_allclose(logits, GOLDEN[network], atol=5e-5)


@pytest.mark.parametrize(
    ("network", "decision", "golden"),
    [
        ("vgg19", "", "vgg19"),
        ("vgg19", "centre", "vgg19 centre"),
        ("resnet18", "", "resnet18"),
        ("resnet18", "centre", "resnet18 centre"),
    ],
)
def test_fer2013(network: str, decision: str, golden: str, tmp_path: Path) -> None:
    shapes = getattr(authors_tensors, network)()
    tensors = authors_tensors.values(shapes, variance=VARIANCE[network])
    file = write(tensors, tmp_path / "PrivateTest_model.t7")
    found = read_published(file, network, "fer2013", decision)
    assert (found.class_names[0], found.class_names[6]) == ("anger", "neutral")
    assert found.decision == (decision or "ten_crop")
    logits = outputs(found.network, authors_tensors.pictures(48))["logits"]
    np.testing.assert_allclose(logits, GOLDEN[golden], atol=5e-5)


@pytest.mark.parametrize("name", ["esr9", "esr4", "esr4_ckplus", "esr9_cbam"])
def test_esr(name: str, tmp_path: Path) -> None:
    shapes = {
        "esr9": lambda: authors_tensors.esr(9, affect=True),
        "esr4": lambda: authors_tensors.esr(4),
        "esr4_ckplus": lambda: authors_tensors.esr(4, ckplus=True),
        "esr9_cbam": lambda: authors_tensors.esr(9, attention=True),
    }[name]()
    tensors = authors_tensors.values(shapes, variance=VARIANCE.get(name, 1.0))
    folder = write_esr(tensors, tmp_path / "esr")
    is_ckplus = name == "esr4_ckplus"
    pictures = authors_tensors.pictures(96, 1 if is_ckplus else 3)
    labels = "ckplus" if is_ckplus else "affectnet8"
    found = outputs(read_published(folder, "esr", labels).network, pictures)
    np.testing.assert_allclose(found["branch_logits"].mean(axis=1), GOLDEN[name], atol=5e-5)
    if name == "esr9":
        np.testing.assert_allclose(found["valence_arousal"], GOLDEN["esr9 affect"], atol=5e-5)
    # The authors' decision: the class with most votes, the first of those that tie.
    votes = np.array(GOLDEN[f"{name} votes"])
    np.testing.assert_array_equal(found["logits"].argmax(axis=1), votes.argmax(axis=1))
    shares = votes / votes.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(found["logits"]), shares, atol=1e-5)
    if is_ckplus:
        mean = outputs(read_published(folder, "esr", labels, "mean").network, pictures)
        np.testing.assert_allclose(mean["logits"], GOLDEN[name], atol=5e-5)


def test_a_start_from_persons(tmp_path: Path) -> None:
    shapes = authors_tensors.manet(20)
    file = write(authors_tensors.values(shapes), tmp_path / "Pretrained_on_MSCeleb.pth.tar")
    network = build_network("manet", (224, 224, 3), 7)
    line = load_start(network, tuple("abcdefg"), str(file))
    assert line.endswith("fresh: quadrants_logits, scales_logits")
    stem = authors_tensors.values({"conv1.weight": shapes["conv1.weight"]})["conv1.weight"]
    kernel = network.get_layer("stem").get_weights()[0]
    np.testing.assert_array_equal(kernel, stem.transpose(2, 3, 1, 0))
    with pytest.raises(ModelFileError, match=r"names 7 classes .* the file has 20 outputs"):
        read_published(file, "manet", "rafdb")


def test_a_start_of_a_network_that_grows(tmp_path: Path) -> None:
    tensors = authors_tensors.values(authors_tensors.esr(2, ckplus=True, affect=True))
    folder = write_esr(tensors, tmp_path / "esr")
    classes = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")
    # The first stage has one branch of the two; the third has one more than the file.
    for branches in (1, 3):
        options = {"variant": "ckplus", "num_branches": branches}
        network = build_network("esr", (96, 96, 1), 7, **options)
        line = load_start(network, classes, f"esr:ckplus={folder}")
        fresh = line.partition("fresh: ")[2].split(", ")
        assert {name.partition("_")[0] for name in fresh} == (
            {""} if branches == 1 else {"branch3"}
        )
        bias = network.get_layer("branch1_logits").get_weights()[1]
        # Neutral is the last class of the file, happiness the fourth.
        np.testing.assert_array_equal(bias[:2], tensors["branch1.fc.bias"][[7, 3]])


def test_every_tensor_has_a_place_or_the_file_is_refused(tmp_path: Path) -> None:
    tensors = authors_tensors.values(authors_tensors.esr(2, ckplus=True))

    def refused(changed: Tensors, message: str) -> None:
        folder = write_esr(changed, tmp_path / f"esr{len(list(tmp_path.iterdir()))}")
        with pytest.raises(ModelFileError, match=message):
            read_published(folder, "esr", "ckplus")

    refused(
        {n: t for n, t in tensors.items() if n != "branch2.bn1.weight"},
        r"1 tensors are missing: branch2\.bn1\.weight\. Another .*esr\d",
    )
    refused({**tensors, "base.conv9.weight": np.ones(3, np.float32)}, r"1 have no place: base\.co")
    refused(
        {**tensors, "base.bn1.bias": np.ones(3, np.float32)},
        r"1 have another shape: base\.bn1\.bias \(3,\) for \(32,\)",
    )
    refused({n: t for n, t in tensors.items() if "branch1." not in n}, "without a gap")
    with pytest.raises(ModelFileError, match="Expected the classifier fc_1"):
        read_published(write(tensors, tmp_path / "a.pth"), "manet", "rafdb")


def test_labels_and_decisions_by_name(tmp_path: Path) -> None:
    tensors = authors_tensors.values(authors_tensors.esr(2, ckplus=True))
    folder = write_esr(tensors, tmp_path / "esr")
    own = "fear, sad,happy,anger,neutral,disgust,contempt,surprise"
    assert read_published(folder, "esr", own).class_names[:3] == ("fear", "sadness", "happiness")
    with pytest.raises(ConfigError, match="expected the order of the classes in the file"):
        read_published(folder, "esr", "affectnet")
    with pytest.raises(ConfigError, match="expected one of vote, mean for esr"):
        read_published(folder, "esr", "ckplus", "ten_crop")
    with pytest.raises(ConfigError, match="expected one whose authors' weights are read"):
        read_published(folder, "compact", "ckplus")
    assert published_spec("ddamfn:rafdb=a=b.pth") == ("ddamfn", "rafdb", "a=b.pth")
    assert published_spec("a.pth") is published_spec("x:y=z.pth") is None


def test_label_orders_name_each_class_once() -> None:
    for family in FAMILIES.values():
        for order in family.labels.values():
            assert len(order) == len(set(order)) in (7, 8)


def test_a_start_under_the_names_of_torchvision(tmp_path: Path) -> None:
    options = {"stem": "imagenet", "width": 1 / 16}
    theirs = build_network("resnet18", (64, 64, 3), 7, **options)
    tensors: Tensors = {"fc.weight": np.zeros((1000, 32), np.float32), "fc.bias": np.zeros(1000)}
    rng = np.random.default_rng(0)
    for layer in theirs.layers:
        if not layer.weights or layer.name == "logits":
            continue
        names = FAMILIES["resnet18"].tensor_names(layer)
        layer.set_weights([rng.uniform(0.5, 1, w.shape).astype("float32") for w in layer.weights])
        for name, values in zip(names, layer.get_weights(), strict=True):
            array = values.transpose(3, 2, 0, 1) if values.ndim == 4 else values
            tensors[name.replace("shortcut", "downsample")] = array
    ours = build_network("resnet18", (64, 64, 3), 3, **options)
    file = write(tensors, tmp_path / "resnet18_msceleb.pth")
    line = load_start(ours, ("neutral", "happiness", "anger"), str(file))
    assert line.startswith("40 of 41 layers from")
    assert line.endswith("fresh: logits")
    pictures = authors_tensors.pictures(64)
    found, wanted = (outputs(each, pictures)["embedding"] for each in (ours, theirs))
    np.testing.assert_array_equal(found, wanted)
