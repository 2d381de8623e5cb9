"""The heatmaps study on a network that is known to look at one place."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.common.opencv import cv2
from fer_keras.study import main

SIDE = 16


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Says happiness where a bright spot is, else sadness: the map is the picture's brightness."""
    import keras

    from fer_keras.loading.keras_files import save_network
    from fer_keras.models.layers import with_class_names

    image = keras.Input((SIDE, SIDE, 1))
    scaled = keras.layers.Rescaling(1 / 255)(image)
    features = keras.layers.AveragePooling2D(4)(scaled)
    mean = keras.layers.GlobalAveragePooling2D()(features)
    logits = keras.layers.Dense(2, name="logits")
    network = keras.Model(image, {"logits": logits(mean), "features": features})
    logits.set_weights([np.array([[100.0, 0.0]], np.float32), np.array([-3.0, 0.0], np.float32)])
    path = tmp_path_factory.mktemp("model") / "spot.keras"
    save_network(with_class_names(network, ("happiness", "sadness")), path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Happiness has one bright spot of 4 x 4 at another place in each picture."""
    root = tmp_path_factory.mktemp("pictures")
    for split in ("train", "validation", "test"):
        for i in range(8):
            picture = np.zeros((SIDE, SIDE), np.uint8)
            picture[0, i] = 1  # no two alike
            for emotion in ("sadness", "happiness"):
                if emotion == "happiness":
                    picture[4 * (i // 4) : 4 * (i // 4) + 4, 4 * (i % 4) : 4 * (i % 4) + 4] = 255
                folder = root / split / emotion
                folder.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(folder / f"{i}.png"), picture)
    return root


def test_the_study(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["heatmaps", str(model), "--dataset", "folder", "--source", str(pictures)]
    assert main([*words, "--sheet", "--per-class", "1", "--output", str(out)]) == 0
    assert sorted(file.name for file in out.iterdir()) == [
        "heatmaps.csv", "heatmaps.json", "heatmaps.md", "spot_drawn.png", "spot_folder.png",
        "spot_mean.png",
    ]  # fmt: skip
    with (out / "heatmaps.csv").open(newline="") as stream:
        rows = {row["map"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["CAM", "Grad-CAM", "Eigen-CAM"]
    cam = rows["CAM"]
    assert (cam["n"], float(cam["accuracy"])) == ("16", 1.0)
    # Without the spot it says sadness: all pictures of happiness are lost, and hardly any other.
    assert float(cam["accuracy_highest"]) == 0.5
    assert float(cam["accuracy_lowest"]) == 1.0
    assert float(cam["needed"]) == float(cam["accuracy_other"]) - 0.5 > 0
    record = json.loads((out / "heatmaps.json").read_text())
    assert record["models"][0]["sha256"]
    assert "| CAM " in capsys.readouterr().out


def test_refusals(model: Path, tmp_path: Path) -> None:
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1]))
    import tiny_models

    export = tiny_models.write_export(tmp_path / "export")
    with pytest.raises(ConfigError, match="gives no feature maps"):
        main(["heatmaps", str(export), "--dataset", "synthetic_faces"])
    with pytest.raises(ConfigError, match="--per-class: expected at least 1"):
        main(["heatmaps", str(model), "--per-class", "0"])
