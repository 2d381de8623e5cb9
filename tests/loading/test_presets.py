"""Networks as Keras' users have them: built, compiled, fitted, saved and loaded by Keras' verbs."""

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from tiny_models import write_export

import fer_keras
from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.common.files import file_sha256
from fer_keras.common.keras_layers import own_layers
from fer_keras.loading import load_network, save_network
from fer_keras.loading.exported_weights import read_exported_weights
from fer_keras.loading.presets import trained_file
from fer_keras.runtime import shipped

NAMES = ("neutral", "happiness", "surprise", "anger")
SMALL = {"stem_filters": 8, "widths": (16, 32), "depths": (1, 1), "dropout": 0.0}


def plain(**arguments: Any) -> Any:
    return fer_keras.build_model("compact", (24, 24, 1), class_names=NAMES, **SMALL, **arguments)


def quadrants(number: int) -> tuple[Any, Any]:
    """Noise with one brighter quadrant, which is the class; targets one-hot."""
    rng = np.random.default_rng(0)
    labels = np.arange(number) % 4
    images = rng.uniform(0, 128, (number, 2, 12, 2, 12, 1))
    images[np.arange(number), labels // 2, :, labels % 2] += 100
    return images.reshape(number, 24, 24, 1).astype("float32"), np.eye(4, dtype="float32")[labels]


@pytest.mark.backends
@pytest.mark.parametrize(
    ("output", "loss"),
    [
        ("probabilities", "categorical_crossentropy"),
        ("logits", keras.losses.CategoricalCrossentropy(from_logits=True)),
    ],
)
def test_the_plain_way_learns_and_comes_back(output: Any, loss: Any, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    network = plain(outputs=output)
    images, targets = quadrants(256)
    # Uncompiled, JAX compiles each operation of a step for itself: several times as long.
    compiled = keras.backend.backend() == "jax"
    network.compile(
        keras.optimizers.Adam(0.01), loss=loss, metrics=["accuracy"], jit_compile=compiled
    )
    network.fit(images, targets, validation_data=(images, targets), epochs=6, verbose=0)
    figures = network.evaluate(images, targets, verbose=0, return_dict=True)
    assert figures["accuracy"] > 0.9
    answers = network.predict(images[:8], verbose=0)
    network.save(tmp_path / "mine.keras")
    again = keras.models.load_model(tmp_path / "mine.keras")
    np.testing.assert_array_equal(again.predict(images[:8], verbose=0), answers)
    loaded = fer_keras.load_model(tmp_path / "mine.keras")
    assert loaded.class_names == NAMES
    pixels = images[:8].astype(np.uint8)
    expected = network.predict(pixels, verbose=0)
    found = loaded.predict(pixels) if output == "probabilities" else loaded.logits(pixels)
    np.testing.assert_allclose(found, expected, atol=1e-5)


# One network of each kind: convolutions, depthwise ones, residuals, attention, branches.
ON_ALL_BACKENDS = ("compact", "mini_xception", "resnet18", "vit_se", "esr")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.backends] if name in ON_ALL_BACKENDS else [])
        for name in fer_keras.list_networks()
    ],
)
def test_every_network_goes_the_plain_way(name: str, tmp_path: Path) -> None:
    module = import_module(f"fer_keras.models.{name}")
    kind = getattr(module, "INPUT_KIND", "image")
    shape = ({"image": (), "pair": (2,), "clip": (4,)}[kind]) + (48, 48, 1)
    options = getattr(module, "SMALL", {})
    network = fer_keras.build_model(name, shape, class_names=NAMES, **options)
    images = np.random.default_rng(0).integers(0, 256, (8, *shape)).astype("float32")
    targets = np.eye(4, dtype="float32")[np.arange(8) % 4]
    # Eagerly: tracing a graph takes several times as long as these steps; JAX compiles either way.
    eager = keras.backend.backend() != "jax"
    network.compile(
        "adam", loss="categorical_crossentropy", metrics=["accuracy"], run_eagerly=eager
    )
    network.fit(images, targets, validation_data=(images, targets), verbose=0, batch_size=8)
    answers = np.asarray(network.predict_on_batch(images))
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)
    network.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_allclose(again.predict_on_batch(images), answers, atol=1e-6)
    assert fer_keras.load_model(tmp_path / "network.keras").class_names == NAMES


def test_a_method_finds_all_outputs_of_a_plain_network() -> None:
    method = fer_keras.build_method("word2vec", plain(), NAMES)
    assert {"logits", "embedding", "features"} <= set(method.network.output)
    assert set(plain(outputs="named").output) == {"logits", "embedding", "features"}


def test_a_fresh_process_loads_every_layer_by_the_package_alone(tmp_path: Path) -> None:
    plain().save(tmp_path / "mine.keras")
    # With Keras imported after and before; the package alone brings no Keras.
    for imports in (
        "import fer_keras, sys; assert 'keras' not in sys.modules; import keras",
        "import keras, fer_keras",
        "import fer_keras.models.layers, keras",
    ):
        code = f"{imports}; print(keras.models.load_model('mine.keras').output.shape)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
        )
        assert done.stdout == "(None, 4)\n", done.stderr[-2000:]


def test_every_registered_layer_has_a_stand_in() -> None:
    for room in ("models", "methods"):
        for path in (Path(fer_keras.__file__).parent / room).glob("*.py"):
            import_module(f"fer_keras.{room}.{path.stem}")
    known = keras.saving.get_custom_objects()
    ours = {
        name
        for name, each in known.items()
        if name.startswith("fer_keras>")
        and getattr(each, "__module__", "").startswith(("fer_keras.models", "fer_keras.methods"))
        and issubclass(each, keras.layers.Layer)
    }
    assert ours <= set(own_layers())
    for name in own_layers():
        assert isinstance(known[name], type)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A run folder with a network of these classes."""
    folder = tmp_path / "run"
    folder.mkdir()
    save_network(plain(outputs="named"), folder / "best.keras")
    return folder


def test_trained_weights_are_taken_whole(trained: Path) -> None:
    images = quadrants(4)[0]
    expected = fer_keras.load_model(trained).predict(images.astype(np.uint8))
    network = fer_keras.build_model("compact", weights=trained)
    found = network.predict(images.astype(np.uint8), verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_other_classes_keep_what_is_known_of_them(trained: Path) -> None:
    with pytest.warns(UserWarning, match="logits has fresh weights"):
        network = fer_keras.build_model("compact", class_names=("happy", "drowsy"), weights=trained)
    source, _ = load_network(trained / "best.keras")
    assert network.output.shape == (None, 2)
    np.testing.assert_array_equal(
        network.get_layer("logits").get_weights()[0][:, 0],
        source.get_layer("logits").get_weights()[0][:, 1],
    )
    np.testing.assert_array_equal(
        network.get_layer("stem").get_weights()[0], source.get_layer("stem").get_weights()[0]
    )


def test_weights_of_another_network_are_refused(trained: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected those of network 'vgg13'\. Received"):
        fer_keras.build_model("vgg13", weights=trained)
    with pytest.raises(ConfigError, match="every layer but the classifier"):
        fer_keras.build_model("compact", weights=trained, **{**SMALL, "widths": (16, 64)})
    with pytest.raises(ConfigError, match="as many class_names as num_classes"):
        fer_keras.build_model("compact", num_classes=3, class_names=NAMES)
    with pytest.raises(ConfigError, match="outputs: expected one of probabilities, logits, named"):
        fer_keras.build_model("compact", outputs="softmax")  # type: ignore[arg-type]


def test_shipped_weights_are_found_by_name(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "_PLACES", (tmp_path / "saved_models",))
    digest = file_sha256(trained / "best.keras")
    training = {"network": "compact", "network_options": {}}
    folder = write_export(tmp_path / "saved_models" / "mine", extra={"training": training})
    with pytest.raises(ModelFileError, match=r"model_float32\.tflite.*only predicts"):
        trained_file("mine")
    (folder / "student.keras").write_bytes((trained / "best.keras").read_bytes())
    assert fer_keras.list_models() == ("mine",)
    assert trained_file("mine") == folder / "student.keras"
    network = fer_keras.build_model("compact", weights="mine")
    assert network.output.shape == (None, 4)
    assert fer_keras.load_model("mine").class_names == (*NAMES[:3], "sadness")
    manifest = folder / "manifest.json"
    entry = f'"files": {{"student.keras": {{"sha256": "{digest[::-1]}"}}, '
    manifest.write_text(manifest.read_text().replace('"files": {', entry))
    with pytest.raises(ModelFileError, match="sha256: not the file"):
        fer_keras.build_model("compact", weights="mine")
    with pytest.raises(ModelFileError, match=r"a shipped model\. Known: mine\. Received: other"):
        fer_keras.build_model("compact", weights="other")
    with pytest.raises(ModelFileError, match="Shipped models: mine: other"):
        fer_keras.load_model("other")


def test_an_export_can_be_trained_on_by_its_float32_file(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    whole = shipped.default_model().parent / "ferplus_tiny"
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("*.keras"))
    exported = read_exported_weights(folder)
    network = fer_keras.build_model("compact", weights=folder)
    assert network.output.shape == (None, 8)
    # Folded batch norm has no statistics: normalising by a batch would be another function.
    x = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 1)).astype(np.float32)
    before = network.get_layer("stem_bn").get_weights()
    stem = keras.Model(network.input, network.get_layer("stem_bn").output)
    np.testing.assert_allclose(stem(x, training=True), stem(x, training=False), atol=1e-5)
    np.testing.assert_array_equal(before, network.get_layer("stem_bn").get_weights())
    np.testing.assert_allclose(
        network.get_layer("logits").get_weights()[1], exported.layers["logits"][1]
    )
    with pytest.warns(UserWarning, match="logits has fresh weights"):
        other = fer_keras.build_model("compact", class_names=("drowsy", "happy"), weights=folder)
    np.testing.assert_allclose(
        other.get_layer("logits").get_weights()[1][1], exported.layers["logits"][1][1]
    )
    with pytest.raises(ConfigError, match="network 'vgg13'"):
        fer_keras.build_model("vgg13", weights=folder)


@pytest.mark.parametrize("name", fer_keras.list_models())
def test_every_shipped_model_can_be_trained_on(name: str) -> None:
    network = fer_keras.build_model("compact", weights=name)
    answers = fer_keras.load_model(name)
    assert network.output.shape == (None, len(answers.class_names))
    assert all(layer.trainable for layer in network.layers)
    assert {layer.dtype_policy.name for layer in network.layers} == {"float32"}
