"""What is exported agrees with Keras, or is not published."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, DataError, ExportError
from fer_keras.conversion import export_run as export_run_module
from fer_keras.conversion import folder as folder_module
from fer_keras.conversion import tflite as conversion
from fer_keras.conversion.export_run import export_run
from fer_keras.conversion.parity import Parity, compare
from fer_keras.data.samples import Samples, one_hot
from fer_keras.evaluation.thresholds import FittedDecision
from fer_keras.loading.keras_files import load_network
from fer_keras.loading.presets import trained_file

NAMES = ("neutral", "happiness", "anger")


def samples(split: str, n: int) -> Samples:
    """Pictures whose class is the brightest third."""
    generator = np.random.default_rng(n)
    labels = np.arange(n) % 3
    images = generator.integers(0, 120, (n, 12, 12, 1), dtype=np.uint8)
    for i, label in enumerate(labels):
        images[i, :, 4 * label : 4 * label + 4] += 100
    facts = {
        "source": np.array([f"{split}#{i}" for i in range(n)]),
        "sha256": np.array([f"{split}{i}" for i in range(n)]),
        "subject": np.array([""] * n),
    }
    return Samples("fer2013", split, NAMES, "hard", images, one_hot(labels, 3), facts)


def network() -> Any:
    import keras

    from fer_keras.models.layers import with_class_names

    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 1), name="image")
    x = keras.layers.Rescaling(1 / 64, offset=-2.0)(image)
    x = keras.layers.Conv2D(16, 3, use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Activation("relu")(x)
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(2)(x))
    logits = keras.layers.Dense(3, name="logits")(x)
    return with_class_names(keras.Model(image, {"logits": logits, "embedding": x}), NAMES)


def train_a_little(model: Any) -> None:
    import keras

    data = samples("train", 192)
    learner = keras.Model(model.inputs, model.output["logits"])
    learner.compile(
        keras.optimizers.Adam(3e-3), keras.losses.CategoricalCrossentropy(from_logits=True)
    )
    learner.fit(data.images.astype(np.float32), data.targets, epochs=4, verbose=0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fer_keras.config import DatasetConfig, Experiment, to_json
    from fer_keras.loading.keras_files import save_network

    run_dir = tmp_path_factory.mktemp("run")
    model = network()
    train_a_little(model)
    save_network(model, run_dir / "best.keras")
    experiment = Experiment("little", dataset=DatasetConfig("fer2013", image_size=12))
    (run_dir / "experiment.json").write_text(to_json(experiment))
    return run_dir


@pytest.fixture(autouse=True)
def _little_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "fer_keras.data.splits.load_splits",
        lambda *_: (samples("train", 96), samples("validation", 90), samples("train", 192)),
    )
    monkeypatch.setattr(conversion, "TIMING_RUNS", 5)


@pytest.fixture(scope="module")
def exported(trained: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "fer_keras.data.splits.load_splits",
            lambda *_: (samples("train", 96), samples("validation", 90), samples("train", 192)),
        )
        patch.setattr(conversion, "TIMING_RUNS", 5)
        export_run(trained, calibration_images=64)
    return trained / "export"


def test_the_folder_holds_what_the_manifest_says(exported: Path) -> None:
    import hashlib

    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["class_names"] == list(NAMES)
    assert (exported / "labels.txt").read_text().split() == list(NAMES)
    assert manifest["image_size"] == [12, 12]
    assert set(manifest["precision_files"]) == {"float32", "float16", "dynamic", "int8"}
    present = {p.relative_to(exported).as_posix() for p in exported.rglob("*") if p.is_file()}
    assert present == {*manifest["files"], "manifest.json"}
    for name, entry in manifest["files"].items():
        data = (exported / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        assert len(data) == entry["bytes"]
    assert "saved_model/saved_model.pb" in manifest["files"]
    assert list(manifest["class_prior"]) == list(NAMES)
    assert sum(manifest["class_prior"].values()) == pytest.approx(1)
    assert "| happiness | 30 |" in (exported / "card.md").read_text()
    assert (exported.parent / "card.md").read_text() == (exported / "card.md").read_text()
    hub_card = (exported / "README.md").read_text()
    assert hub_card.startswith("---\nlicense: ")
    assert hub_card.endswith((exported / "card.md").read_text())


def test_the_default_prior_is_chosen_by_the_rule_and_has_thresholds_of_its_own(
    exported: Path,
) -> None:
    from fer_keras.common.prior import parse_prior
    from fer_keras.evaluation.prior_rule import largest_tau, prior_figures
    from fer_keras.loading.load import load_model
    from fer_keras.runtime.recognizer import Recognizer

    manifest = json.loads((exported / "manifest.json").read_text())
    validation, shares = samples("validation", 90), list(manifest["class_prior"].values())
    p = load_model(exported, precision="float32").predict(validation.images)
    known = (p, validation.labels, NAMES, shares)
    choice = parse_prior(manifest["default_prior"])
    assert choice.tau == largest_tau(*known)
    block = manifest["prior_figures"]
    for key, prior in (("without_prior", parse_prior("training")), ("with_prior", choice)):
        expected = json.loads(json.dumps(prior_figures(*known, prior)))
        assert block[key]["recall"] == expected["recall"]
        assert block[key]["accuracy"] == expected["accuracy"]
        assert block[key]["balanced_accuracy"] == expected["balanced_accuracy"]
    decision, tau = manifest["decision"], f"{choice.tau:g}"
    assert decision["prior"] == manifest["default_prior"]
    assert len(decision["by_tau"]) == 21
    for name in ("reject_threshold", "conformal_threshold"):
        assert decision["by_tau"][tau][name] == decision[name]
    assert Recognizer(exported, detector="none").prior == manifest["default_prior"]
    assert f"With `{manifest['default_prior']}`" in (exported / "card.md").read_text()


def test_a_shipped_folder_gets_a_default_prior_without_its_run(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fer_keras.conversion.ship import refit, ship
    from fer_keras.ship import main

    folder = tmp_path / "little"
    ship(exported, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    new = {name: manifest.pop(name) for name in ("default_prior", "prior_figures", "decision")}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    load = lambda *_, **__: samples("validation", 90)  # noqa: E731
    monkeypatch.setattr("fer_keras.conversion.ship.load_samples", load)
    assert main([str(folder), "--refit-prior"]) == 0
    again = json.loads((folder / "manifest.json").read_text())
    assert again["prior_figures"]["measured_by"] == "int8"
    assert list(again["decision"]["measured"]) == ["int8", "float32"]
    assert again["decision"].keys() == new["decision"].keys()
    assert again["files"]["model_int8.tflite"] == manifest["files"]["model_int8.tflite"]
    assert "The class prior it answers by" in (folder / "card.md").read_text()
    # The network to train on goes along, and stays.
    assert "model.keras" in again["files"]
    assert trained_file(folder) == folder / "model.keras"
    trained, _ = load_network(exported.parent / "best.keras")
    for mine, theirs in zip(
        load_network(folder / "model.keras")[0].get_weights(), trained.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    from fer_keras.runtime.recognizer import Recognizer

    recognizer = Recognizer(folder, detector="none")
    assert recognizer.prior == again["default_prior"]
    other = lambda *_, **__: samples("validation", 60)  # noqa: E731
    monkeypatch.setattr("fer_keras.conversion.ship.load_samples", other)
    with pytest.raises(DataError, match="Expected the split with the fingerprint"):
        refit(folder)
    with pytest.raises(SystemExit):
        main([str(folder)])


def test_every_file_agrees_with_keras(exported: Path, trained: Path) -> None:
    from fer_keras.common.metrics import softmax
    from fer_keras.loading.load import load_model
    from fer_keras.loading.tflite_files import load_tflite_bytes
    from fer_keras.runtime.recognizer import Recognizer

    images = samples("validation", 90).images
    keras_model = load_model(trained / "best.keras")
    manifest = json.loads((exported / "manifest.json").read_text())
    expected = softmax(keras_model.logits(images), manifest["temperature"])
    # The gate asks 8-bit files for the same answers only; this network's are this near.
    for precision, tolerance in (("float32", 1e-5), ("float16", 1e-3), ("int8", 0.01)):
        model = load_model(exported, precision=precision)
        np.testing.assert_allclose(model.predict(images), expected, atol=tolerance)
        runtime = Recognizer(exported, detector="none", precision=precision, prior="training")
        np.testing.assert_allclose(runtime.predict_proba(images), expected, atol=tolerance)
    int8 = (exported / "model_int8.tflite").read_bytes()
    assert load_tflite_bytes(int8, exported)[2] == "uint8"


def test_int8_reads_raw_pixels_also_where_calibration_saw_no_white_one(exported: Path) -> None:
    """Its step was 219/255 here, so each pixel counted for less and logits shrank to 0.7."""
    from ai_edge_litert.interpreter import Interpreter

    assert samples("train", 96).images.max() < 255
    file = exported / "model_int8.tflite"
    (place,) = Interpreter(model_content=file.read_bytes()).get_input_details()
    assert place["quantization"] == (1.0, 0)


def test_the_temperature_is_the_one_of_the_validation_split(exported: Path, trained: Path) -> None:
    from fer_keras.common.metrics import fit_temperature
    from fer_keras.loading.load import load_model

    validation = samples("validation", 90)
    logits = load_model(trained / "best.keras").logits(validation.images)
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["temperature"] == pytest.approx(fit_temperature(logits, validation.targets))
    assert "validation" in manifest["validation"]["temperature_fitted_on"]


def test_the_thresholds_are_in_the_manifest_the_card_and_the_runtime(exported: Path) -> None:
    from fer_keras.runtime import Recognizer

    decision = json.loads((exported / "manifest.json").read_text())["decision"]
    assert (decision["n"], decision["n_measured"]) == (45, 45)
    assert set(decision["measured"]) == {"keras", "int8"}
    assert 0.8 <= decision["measured"]["int8"]["coverage"] <= 1
    card = (exported / "card.md").read_text()
    assert f"below {decision['reject_threshold']:.3f}" in card
    assert "at least its own threshold (`decision.conformal_by_class`)" in card
    assert (
        decision["conformal_by_class"].keys()
        == decision["measured"]["int8"]["coverage_by_class"].keys()
    )
    for folder in (exported, exported.parent):
        assert (folder / "risk_coverage.png").read_bytes()[:4] == b"\x89PNG"
    recognizer = Recognizer(exported, detector="none")
    assert recognizer.decision.reject_threshold == decision["reject_threshold"]
    (face,) = recognizer.recognize(samples("validation", 3).images[0])
    assert face["label_set"][0] == face["dominant"]


def test_an_int8_file_whose_label_sets_lost_coverage_is_not_published(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, calls = FittedDecision.measure, list[int]()

    def spoilt(self: FittedDecision, probabilities: Any) -> dict[str, Any]:
        measured = measure(self, probabilities)
        calls.append(len(probabilities))
        # The int8 file comes after the 21 taus and Keras.
        lost = 0.1 if len(calls) > 22 else 0.0
        return {**measured, "coverage": measured["coverage"] - lost}

    before = (exported / "manifest.json").read_bytes()
    monkeypatch.setattr(FittedDecision, "measure", spoilt)
    with pytest.raises(ExportError, match=r"Not published: int8: its label sets.*--no-int8"):
        export_run(exported.parent, calibration_images=64)
    assert (exported / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("precision", ["float32", "dynamic"])
def test_a_spoilt_conversion_publishes_nothing(
    exported: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    convert = conversion.convert
    before = {p.name: p.read_bytes() for p in exported.iterdir() if p.is_file()}
    run_dir = exported.parent
    entries = sorted(p.name for p in run_dir.iterdir())

    def spoilt(frozen: Any, wanted: str) -> bytes:
        if wanted == precision:
            frozen = conversion.frozen_function(conversion.deploy_graph(network(), 1.0))
        return convert(frozen, wanted)

    monkeypatch.setattr(conversion, "convert", spoilt)
    with pytest.raises(ExportError, match=rf"Not published.*{precision}: .*allowed"):
        export_run(run_dir, int8=False)
    assert {p.name: p.read_bytes() for p in exported.iterdir() if p.is_file()} == before
    assert sorted(p.name for p in run_dir.iterdir()) == entries


def test_a_rename_that_fails_gives_the_old_export_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, building = tmp_path / "export", tmp_path / ".export.new"
    for folder, text in ((target, "old"), (building, "new")):
        folder.mkdir()
        (folder / "manifest.json").write_text(text)
    rename = Path.rename

    def refuses(self: Path, to: Path) -> Path:
        if self == building:
            raise OSError(28, "No space left on device")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refuses)
    with pytest.raises(OSError, match="No space"):
        folder_module.publish(building, target)
    assert (target / "manifest.json").read_text() == "old"
    monkeypatch.undo()
    folder_module.publish(building, target)
    assert (target / "manifest.json").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["export"]


def test_a_folder_with_something_else_is_not_replaced(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ExportError, match="neither empty nor an export"):
        export_run(trained, tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_the_gate_by_hand() -> None:
    reference = np.array([[0.6, 0.4], [0.3, 0.7]], np.float32)
    ours = np.array([[0.6, 0.4], [0.3 + 2e-4, 0.7 - 2e-4]], np.float32)
    parity = compare(ours, reference, [0, 0])
    assert parity.max_difference == pytest.approx(2e-4, rel=1e-3)
    assert (parity.same_arg_max, parity.accuracy, parity.keras_accuracy) == (1.0, 0.5, 0.5)
    assert parity.problem("float16") is None
    assert "allowed 1e-05" in str(parity.problem("float32"))
    assert Parity(1.0, 0.99, 0.700, 0.705).problem("int8") is None
    assert Parity(1.0, 0.989, 0.700, 0.700).problem("int8") is not None
    assert Parity(1.0, 1.0, 0.6949, 0.7000).problem("int8") is not None
    # Four of 755 images, of six with another answer: the built-in faces of a first training.
    few = Parity(1.0, 749 / 755, 544 / 755, 548 / 755, num_images=755)
    assert few.problem("dynamic") is None
    assert Parity(1.0, 0.99, 542 / 755, 548 / 755, num_images=755).problem("dynamic") is not None
    assert Parity(float("nan"), 1.0, 0.5, 0.5).problem("float32") is not None


def test_half_weights_keep_what_they_are_told_to_keep(exported: Path) -> None:
    from fer_keras.loading.tflite_files import load_tflite_bytes

    float32 = (exported / "model_float32.tflite").read_bytes()
    image = samples("validation", 3).images[:1]
    exact = load_tflite_bytes(float32, exported)[0](image)
    sizes = []
    for share in (0.0, 0.5, 1.0):
        data, kept, total = conversion.half_weights(float32, share)
        sizes.append(len(data))
        difference = np.abs(load_tflite_bytes(data, exported)[0](image) - exact).max()
        assert difference < 1e-3
        assert (kept == 0, kept == total, difference == 0) == (
            share == 0, share == 1, share == 1,
        )  # fmt: skip
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_mixed_precision_is_exported_as_float32() -> None:
    import keras

    keras.config.set_dtype_policy("mixed_float16")
    try:
        mixed = network()
    finally:
        keras.config.set_dtype_policy("float32")
    plain = conversion.in_float32(mixed)
    assert {layer.compute_dtype for layer in plain.layers} == {"float32"}
    for ours, theirs in zip(plain.get_weights(), mixed.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert conversion.in_float32(plain) is plain


@pytest.mark.backends
def test_another_backend_hands_over_to_a_tensorflow_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    calls: list[tuple[list[str], str]] = []

    class Done:
        returncode, stderr = 2, "noise\nerror: Not published: int8: too far\n"

    def run(command: list[str], env: dict[str, str], **_: Any) -> Done:
        calls.append((command, env["KERAS_BACKEND"]))
        return Done()

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(export_run_module.subprocess, "run", run)
    with pytest.raises(ExportError, match=r"^Not published: int8: too far$"):
        export_run(tmp_path, int8=False)
    command, backend = calls[0]
    assert backend == "tensorflow"
    assert command[1:4] == ["-m", "fer_keras.export", str(tmp_path)]
    assert "--no-int8" in command


def test_mirror_files_give_a_picture_and_its_mirror_image_the_same_answer(
    trained: Path, tmp_path: Path
) -> None:
    manifest = export_run(trained, tmp_path / "mirror", int8=False, mirror=True)
    assert manifest["mirror_average"] is True
    images = samples("validation", 30).images
    data = (tmp_path / "mirror" / manifest["precision_files"]["float32"]).read_bytes()
    answers = conversion.tflite_probabilities(data, images)
    mirrored = conversion.tflite_probabilities(data, np.ascontiguousarray(images[:, :, ::-1]))
    assert np.abs(answers - mirrored).max() < 1e-5
    assert "mirror image" in (tmp_path / "mirror" / "card.md").read_text()


@pytest.fixture(scope="module")
def with_engines(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    import_openvino_or_skip()
    folder = tmp_path_factory.mktemp("engines") / "export"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "fer_keras.data.splits.load_splits",
            lambda *_: (samples("train", 96), samples("validation", 90), samples("train", 192)),
        )
        patch.setattr(conversion, "TIMING_RUNS", 5)
        export_run(trained, folder, calibration_images=64, formats=["onnx", "openvino"])
    return folder


def import_openvino_or_skip() -> None:
    import importlib.util

    if importlib.util.find_spec("openvino") is None:
        pytest.skip("needs OpenVINO")


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_other_engines_give_the_answers_of_litert(with_engines: Path, engine: Any) -> None:
    from fer_keras import Recognizer

    manifest = json.loads((with_engines / "manifest.json").read_text())
    assert manifest["engine_files"] == {"onnx": "model.onnx", "openvino": "model.xml"}
    assert manifest["parity"]["models"][engine]["max_difference"] <= 1e-5
    assert {"model.onnx", "model.xml", "model.bin"} <= set(manifest["files"])
    assert f"`{manifest['engine_files'][engine]}`" in (with_engines / "card.md").read_text()
    pictures = samples("validation", 75).images
    litert = Recognizer(with_engines, "none", precision="float32").predict_proba(pictures)
    other = Recognizer(with_engines, "none", engine=engine)
    assert np.abs(other.predict_proba(pictures) - litert).max() < 1e-5
    # Batches of 32 and one by one: the same answers.
    single = np.concatenate([other.predict_proba(pictures[i : i + 1]) for i in range(5)])
    assert np.abs(single - litert[:5]).max() < 1e-5
    with pytest.raises(ConfigError, match=r"in float32, received 'int8'"):
        Recognizer(with_engines, "none", engine=engine, precision="int8")


def test_the_onnx_file_is_of_the_stated_opset(with_engines: Path) -> None:
    import onnx

    model = onnx.load(with_engines / "model.onnx")
    versions = {entry.domain: entry.version for entry in model.opset_import}
    manifest = json.loads((with_engines / "manifest.json").read_text())
    assert versions[""] == manifest["parity"]["models"]["onnx"]["opset"] == 18
    assert "opset 18" in (with_engines / "card.md").read_text()


@pytest.mark.parametrize("format_name", ["onnx", "openvino"])
def test_a_spoilt_engine_file_publishes_nothing(
    trained: Path, with_engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    format_name: str,
) -> None:  # fmt: skip
    write = export_run_module.write_engine_file

    def spoilt(deploy: Any, folder: Path, name: str) -> dict[str, Any]:
        from fer_keras.loading.keras_files import load_network

        other = conversion.deploy_graph(load_network(trained / "best.keras")[0], 17.0)
        return write(other, folder, name)

    monkeypatch.setattr(export_run_module, "write_engine_file", spoilt)
    with pytest.raises(ExportError, match=rf"{format_name}: largest probability difference"):
        export_run(trained, tmp_path / "export", int8=False, formats=[format_name])
    assert list(tmp_path.iterdir()) == []


def test_formats_are_checked_before_any_work(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="expected some of onnx, openvino, received coreml"):
        export_run(trained, tmp_path / "export", formats=["coreml"])
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "tf2onnx" else object()
    )
    with pytest.raises(ConfigError, match=r"tf2onnx, which is not installed.*fer_keras\[onnx\]"):
        export_run(trained, tmp_path / "export", formats=["onnx"])


@pytest.mark.parametrize("engine", ["litert", "onnx", "openvino"])
def test_pictures_in_batches_have_the_answers_of_single_ones(
    with_engines: Path, engine: Any
) -> None:
    from fer_keras import Recognizer

    recognizer = Recognizer(with_engines, "none", engine=engine)
    pictures: list[Any] = [*samples("validation", 75).images[..., 0]]
    pictures[40] = b"no picture"
    runs = []
    run = recognizer._network.read
    recognizer._network.read = lambda crops: runs.append(len(crops)) or run(crops)
    answers = list(recognizer.recognize_each(pictures, (DataError,)))
    assert runs == ([1] * 74 if engine == "litert" else [32, 31, 11])
    assert [picture is given for (picture, _), given in zip(answers, pictures, strict=True)]
    assert isinstance(answers[40][1], DataError)
    for i in (0, 31, 32, 39, 41, 74):
        faces, alone = answers[i][1], recognizer.recognize(pictures[i])
        assert faces[0]["dominant"] == alone[0]["dominant"]
        expected = pytest.approx(alone[0]["emotions"], abs=0 if engine == "litert" else 1e-6)
        assert faces[0]["emotions"] == expected
    with pytest.raises(DataError):
        list(recognizer.recognize_each(pictures))
    table = recognizer.recognize_many(pictures[:40])
    assert table["dominant"].tolist() == [faces[0]["dominant"] for _, faces in answers[:40]]
