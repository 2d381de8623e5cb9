"""From a trained pair network to a camera: export, parity, and a neutral face of the person."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.common.files import read_json
from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, to_json
from fer_keras.conversion.export_run import export_run
from fer_keras.data import splits
from fer_keras.data.pairs import with_neutral
from fer_keras.data.samples import Samples, one_hot
from fer_keras.evaluation.evaluate import evaluate
from fer_keras.loading.keras_files import save_network
from fer_keras.loading.load import load_model
from fer_keras.runtime import Recognizer

NAMES = ("neutral", "happiness", "anger")
PAIRED = DatasetConfig("synthetic_faces", image_size=16, neutral="same_subject")


def faces(split: str, n: int) -> Samples:
    """Brighter or darker than the person's own neutral face."""
    rng = np.random.default_rng(n)
    labels, person = np.arange(n) % 3, np.arange(n) // 6
    level = rng.uniform(110, 140, n // 6 + 1)[person] + np.array([0, 80, -80])[labels]
    images = level[:, None, None, None] + rng.normal(0, 5, (n, 16, 16, 1))
    facts = {
        "source": np.array([f"{split}{i}" for i in range(n)]),
        "sha256": np.array([f"{split}{i:060d}" for i in range(n)]),
        "subject": np.array([f"{split}{p}" for p in person]),
    }
    pixels = np.clip(images, 0, 255).astype(np.uint8)
    return Samples("synthetic_faces", split, NAMES, "hard", pixels, one_hot(labels, 3), facts)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Samples]:
    """A run folder with its export, the manifest, and the validation pairs."""
    import keras

    from fer_keras.methods import build_method
    from fer_keras.models import build_network

    keras.utils.set_random_seed(0)
    train = faces("train", 192)
    validation = faces("validation", 96)
    train, validation = (with_neutral(part, train, PAIRED) for part in (train, validation))
    options = {"stem_filters": 8, "widths": [16], "depths": [1]}
    network = NetworkConfig(
        "difference_of_embeddings", {"encoder": "compact", "encoder_options": options, "hidden": []}
    )
    built = build_network(network.name, (2, 16, 16, 1), 3, **network.options)
    method = build_method("cross_entropy", built, NAMES)
    method.compile(keras.optimizers.Adam(0.05), jit_compile=False)
    method.fit(train.images[:].astype(np.float32), train.targets, epochs=25, verbose=0)
    folder = tmp_path_factory.mktemp("pair")
    save_network(method.network, folder / "best.keras")
    (folder / "experiment.json").write_text(to_json(Experiment("d", PAIRED, network=network)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "load_splits", lambda *_: (train, validation, train))
        manifest = export_run(folder, parity_images=96, int8=False)
    return folder, manifest, validation


def test_every_file_agrees_with_keras(trained: Any) -> None:
    _, manifest, _ = trained
    assert (manifest["input_kind"], manifest["neutral"]) == ("pair", "same_subject")
    assert (manifest["image_size"], manifest["channels"]) == ([16, 16], 1)
    models = manifest["parity"]["models"]
    assert set(models) == {"saved_model", "float32", "float16", "dynamic"}
    # The gate has refused nothing, and what it compared was not chance.
    assert models["float32"]["max_difference"] < 1e-5
    assert min(row["accuracy"] for row in models.values()) > 0.9


def test_the_exported_file_is_evaluated_on_pairs(trained: Any, tmp_path: Path) -> None:
    folder, _, validation = trained
    model = load_model(folder / "export", precision="dynamic")
    assert (model.input_kind, model.image_shape) == ("pair", (16, 16, 1))
    figures = evaluate(model, validation, output_dir=tmp_path)
    assert figures["accuracy"] > 0.9
    with pytest.raises(ModelFileError, match=r"shape \(n, 2, 16, 16, 1\)"):
        model.predict(validation.images[:][:, 1])


def test_a_person_shows_a_neutral_face_first(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, validation = trained
    monkeypatch.chdir(tmp_path)
    recognizer = Recognizer(folder / "export", detector="none")
    pairs, right = validation.images[:], 0
    with pytest.raises(ConfigError, match="set_neutral"):
        recognizer.recognize(pairs[0, 1])
    keras_answers = load_model(folder).predict(pairs)
    for (neutral, face), row, label in zip(pairs, keras_answers, validation.labels, strict=True):
        recognizer.set_neutral(neutral)
        found = recognizer.predict_proba([face])[0]
        temperature = read_json(folder / "export" / "manifest.json")["temperature"]
        expected = row.astype(np.float64) ** (1 / temperature)
        np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-4)
        right += int(found.argmax() == label)
    assert right > 0.9 * len(pairs)
    # The same faces beside another neutral face get other answers.
    grey = [np.full((16, 16), level, np.uint8) for level in range(40, 240, 10)]
    answers = []
    for level in (110, 140):
        recognizer.set_neutral(np.full((16, 16), level, np.uint8))
        answers.append(recognizer.predict_proba(grey))
    assert np.abs(answers[0] - answers[1]).max() > 0.01
    assert os.listdir(tmp_path) == []
