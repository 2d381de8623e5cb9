"""The trust boundary: what is read, what is refused, and that a save never costs the old file."""

import dataclasses
import json
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models

from fer_keras.common.errors import ExportError, ModelFileError, TrainingError
from fer_keras.loading import keras_files
from fer_keras.loading.cards import shipped_card
from fer_keras.loading.classifier import LoadedModel, from_network
from fer_keras.loading.keras_files import load_network, save_network
from fer_keras.loading.load import load_model

NAMES = ("neutral", "happiness", "anger")


def small_network(names: tuple[str, ...] = NAMES) -> Any:
    import keras

    from fer_keras.models.layers import with_class_names

    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 1), name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(4, 3, activation="relu")(x)
    embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    logits = keras.layers.Dense(len(names), name="logits")(embedding)
    return with_class_names(
        keras.Model(image, {"logits": logits, "embedding": embedding}, name="small"), names
    )


def images(n: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 12, 12, 1), dtype=np.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.keras"
    save_network(small_network(), path)
    return path


def rewrite(source: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a .keras file with another configuration."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            new.writestr(name, data)
    return target


@pytest.mark.backends
def test_a_saved_network_gives_the_same_figures(saved: Path) -> None:
    import keras

    network, model = small_network(), load_model(saved)
    assert model.class_names == NAMES
    assert model.image_shape == (12, 12, 1)
    assert model.kind == "keras"
    outputs = network(images().astype(np.float32), training=False)
    expected = keras.ops.convert_to_numpy(outputs["logits"])
    # Two of five: the last block is filled up and cut again.
    np.testing.assert_allclose(model.logits(images(), batch_size=2), expected, atol=1e-5)
    probabilities = model.predict(images())
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (probabilities.argmax(axis=1) == expected.argmax(axis=1)).all()
    assert model.predict(images(0)).shape == (0, 3)


@pytest.mark.backends
def test_saving_leaves_no_temporary_file(saved: Path) -> None:
    assert [path.name for path in saved.parent.iterdir()] == ["small.keras"]


def test_a_run_folder_uses_the_temperature_of_its_own_file_only(
    saved: Path, tmp_path: Path
) -> None:
    (tmp_path / "best.keras").write_bytes(saved.read_bytes())
    sha256 = load_network(saved)[1]
    record = {"temperature": 2.5, "model_sha256": sha256}
    (tmp_path / "calibration.json").write_text(json.dumps(record))
    model = load_model(tmp_path)
    assert model.temperature == 2.5
    logits = model.logits(images()).astype(np.float64) / 2.5
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict(images()), expected, atol=1e-6)

    record["model_sha256"] = "0" * 64
    (tmp_path / "calibration.json").write_text(json.dumps(record))
    assert load_model(tmp_path).temperature == 1.0

    record |= {"model_sha256": sha256, "temperature": -1}
    (tmp_path / "calibration.json").write_text(json.dumps(record))
    with pytest.raises(ModelFileError, match="positive temperature"):
        load_model(tmp_path)


def test_images_of_another_size_or_type_are_refused(saved: Path) -> None:
    model = load_model(saved)
    with pytest.raises(ModelFileError, match=r"12, 12, 1.*\(2, 48, 48, 1\)"):
        model.predict(np.zeros((2, 48, 48, 1), np.uint8))
    with pytest.raises(ModelFileError, match="uint8"):
        model.predict(np.zeros((2, 12, 12, 1), np.float32))  # type: ignore[arg-type]


def test_a_lambda_layer_is_refused(tmp_path: Path) -> None:
    import keras

    image = keras.Input((4,))
    keras.Model(image, keras.layers.Lambda(lambda x: x * 2)(image)).save(tmp_path / "bad.keras")
    with pytest.raises(ModelFileError, match=r"can run code: keras\.layers\.Lambda"):
        load_model(tmp_path / "bad.keras")


@pytest.mark.parametrize(
    "entry",
    [
        {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
        {"module": "builtins", "class_name": "exec", "config": {}},
        {"module": "keras.utils", "class_name": "get_file", "config": {}},
        {"module": "keras.saving", "class_name": "load_model", "config": {}},
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/tmp/x"}},
        {"module": "tests.test_loading", "class_name": "X", "registered_name": "fer_keras>X"},
        {
            "module": "fer_keras.models.layers.x",
            "class_name": "X",
            "registered_name": "fer_keras>X",
        },
        {"module": "fer_keras.models.nothing", "class_name": "X", "registered_name": "fer_keras>X"},
        {"module": None, "class_name": "Mine", "registered_name": "other>Mine", "config": {}},
        {"class_name": "__lambda__", "config": {"value": "4w=="}},
        {"class_name": ["Lambda"], "config": {}},
    ],
)
def test_whatever_is_no_layer_of_ours_is_refused_before_keras_sees_it(
    saved: Path, tmp_path: Path, entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("Keras was asked to load the file")

    monkeypatch.setattr(keras.saving, "load_model", forbidden)
    bad = rewrite(
        saved, tmp_path / "bad.keras", lambda c: c["config"]["layers"][1]["config"].update(x=entry)
    )
    with pytest.raises(ModelFileError):
        load_model(bad)


def test_a_cut_or_changed_file_is_refused(saved: Path, tmp_path: Path) -> None:
    data = saved.read_bytes()
    path = tmp_path / "cut.keras"
    for size in (0, 10, len(data) // 2, len(data) - 5):
        path.write_bytes(data[:size])
        with pytest.raises(ModelFileError, match=r"cut\.keras"):
            load_model(path)
    changed = bytearray(data)
    changed[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(changed))
    with pytest.raises(ModelFileError):
        load_model(path)


def test_a_bomb_and_a_huge_file_are_refused_before_unpacking(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = tmp_path / "bomb.keras"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(64 << 20))
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(ModelFileError, match="bomb"):
        load_model(bomb)
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", b" " * (17 << 20))
        archive.writestr("model.weights.h5", b"")
    with pytest.raises(ModelFileError, match="at most 16777216"):
        load_model(bomb)
    monkeypatch.setattr(keras_files, "MAX_MODEL_BYTES", 1000)
    with pytest.raises(ModelFileError, match="at most 1000"):
        load_model(saved)


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil", "assets/x", "config.json"])
def test_other_members_of_the_archive_are_refused(saved: Path, tmp_path: Path, name: str) -> None:
    bad = tmp_path / "bad.keras"
    bad.write_bytes(saved.read_bytes())
    with zipfile.ZipFile(bad, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile remarks on the name that occurs twice
        archive.writestr(name, "x")
    with pytest.raises(ModelFileError, match="Expected exactly"):
        load_model(bad)
    assert not (tmp_path.parent / "evil.py").exists()


def test_a_network_without_names_or_logits_is_refused() -> None:
    import keras

    image = keras.Input((8, 8, 1))
    flat = keras.layers.Flatten()(image)
    with pytest.raises(ModelFileError, match="class names"):
        from_network(keras.Model(image, {"logits": keras.layers.Dense(3)(flat)}))
    with pytest.raises(ModelFileError, match="logits"):
        from_network(keras.Model(image, flat))


def test_other_formats_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    for path in (tmp_path, tmp_path / "saved_model.pb"):
        with pytest.raises(ModelFileError, match="SavedModels are never loaded"):
            load_model(path)
    (tmp_path / "model.h5").write_bytes(b"x")
    with pytest.raises(ModelFileError, match=r"\.h5"):
        load_model(tmp_path / "model.h5")
    with pytest.raises(ModelFileError, match="No such"):
        load_model(tmp_path / "none")
    with pytest.raises(ModelFileError, match=r"none\.keras"):
        load_model(tmp_path / "none.keras")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFileError, match="neither"):
        load_model(tmp_path / "empty")


def tflite_file(folder: Path, data: bytes, names: tuple[str, ...]) -> Path:
    path = folder / "model.tflite"
    tiny_models.write_card(path, names)
    path.write_bytes(data)
    return path


def test_a_tflite_file_predicts(tmp_path: Path) -> None:
    path = tflite_file(tmp_path, tiny_models.tflite(batch_size=1), tiny_models.CLASS_NAMES)
    model = load_model(path)
    assert (model.kind, model.image_shape) == ("tflite", (24, 24, 1))
    pictures = np.stack([tiny_models.BRIGHT, tiny_models.DARK, tiny_models.LEFT])[..., None]
    found = [model.class_names[i] for i in model.predict(pictures).argmax(axis=1)]
    assert found == ["happiness", "sadness", "surprise"]
    with pytest.raises(ModelFileError, match="no logits"):
        model.logits(pictures)


def test_a_tflite_file_with_wrong_labels_is_refused(tmp_path: Path) -> None:
    path = tflite_file(tmp_path, tiny_models.tflite(batch_size=1), ("fear", "anger"))
    with pytest.raises(ModelFileError, match=r"2 labels .*output shape \[1, 4\]"):
        load_model(path)


def test_a_custom_operator_is_refused(tmp_path: Path) -> None:
    data = tiny_models.tflite("custom", batch_size=1)
    path = tflite_file(tmp_path, data, tiny_models.CLASS_NAMES)
    with pytest.raises(ModelFileError, match="custom operator"):
        load_model(path)


def test_a_damaged_tflite_file_is_refused(tmp_path: Path) -> None:
    data = tiny_models.tflite(batch_size=1)
    for bad in (b"", b"TFL3", data[: len(data) // 2], b"\0" * 500):
        path = tflite_file(tmp_path, bad, tiny_models.CLASS_NAMES)
        with pytest.raises(ModelFileError, match=r"model\.tflite"):
            load_model(path)


def test_logits_are_not_taken_for_probabilities(tmp_path: Path) -> None:
    data = tiny_models.tflite(batch_size=1, softmax=False)
    path = tflite_file(tmp_path, data, tiny_models.CLASS_NAMES)
    with pytest.raises(ModelFileError, match=r"sum 1.*logits in its card"):
        load_model(path)


@pytest.mark.parametrize("moment", ["fsync", "replace", "save"])
def test_a_full_disk_keeps_the_old_file(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    import keras

    path = tmp_path / "best.keras"
    path.write_bytes(saved.read_bytes())
    network = small_network(("fear", "anger"))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    def half_written(self: Any, target: Path, **_: Any) -> None:
        Path(target).write_bytes(b"half")
        full()

    if moment == "save":
        monkeypatch.setattr(keras.Model, "save", half_written)
    else:
        monkeypatch.setattr(os, moment, full)
    with pytest.raises(TrainingError, match="No space left"):
        save_network(network, path)
    with pytest.raises(ExportError, match="unchanged"):
        save_network(network, path, error=ExportError)
    assert path.read_bytes() == saved.read_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["best.keras"]


@pytest.mark.backends
def test_weights_that_are_not_finite_are_never_saved(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "best.keras"
    path.write_bytes(saved.read_bytes())
    network = small_network()
    kernel = network.get_layer("logits").kernel
    kernel.assign(np.full(kernel.shape, np.nan, np.float32))
    with pytest.raises(TrainingError, match=r"logits/kernel holds NaN"):
        save_network(network, path)
    assert path.read_bytes() == saved.read_bytes()


def test_one_interface_for_our_models_and_other_projects() -> None:
    seen: list[tuple[int, ...]] = []

    def answer(images: np.ndarray) -> np.ndarray:
        seen.append(images.shape)
        return np.tile(np.float32([0.2, 0.3, 0.5]), (len(images), 1))

    names = ("anger", "contempt", "happiness")
    ours = LoadedModel(Path("m.tflite"), "tflite", names, (4, 4, 1), "", 1.0, {}, answer)
    theirs = dataclasses.replace(ours, card=shipped_card("fer"))
    colour = np.zeros((2, 8, 6, 3), np.uint8)
    for model in (ours, theirs):
        # By name: sadness it does not know, contempt is left out.
        found = model.probabilities(colour, ("happiness", "sadness", "anger"))
        np.testing.assert_allclose(found, [[0.5 / 0.7, 0, 0.2 / 0.7]] * 2, rtol=1e-6)
        assert model.knows("anger")
        assert not model.knows("sadness")
        with pytest.raises(ModelFileError, match="no logits"):
            model.logits(ours.as_input(colour))
        with pytest.raises(ModelFileError, match="Expected uint8 images"):
            model.predict(colour)
    # A card says how pictures are resized.
    assert seen == [(2, 4, 4, 1), (2, 8, 6, 1)]
    with pytest.raises(ModelFileError, match="Expected uint8 images"):
        ours.predict(np.zeros((2, 8, 6, 1), np.uint8))
