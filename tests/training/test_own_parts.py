"""Networks, methods, data sets and studies from files of the user's own."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fer_keras
from fer_keras import study, train
from fer_keras.common.errors import ConfigError, DataError, ModelFileError
from fer_keras.common.files import file_sha256
from fer_keras.config import DatasetConfig, MethodConfig, NetworkConfig, load_experiment
from fer_keras.data.registry import dataset_module
from fer_keras.loading.load import load_model
from fer_keras.training.own_parts import check_parts, keep_own_files, with_full_paths

NETWORK = '''"""Mine."""
import keras

def build(image_shape, num_classes, *, filters: int = 4):
    """One convolution."""
    image = keras.Input(image_shape, name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(filters, 5, strides=4, activation="relu", name="conv")(x)
    x = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    logits = keras.layers.Dense(num_classes, name="logits")(x)
    return keras.Model(image, {"logits": logits, "embedding": x}, name="mynet")
'''
METHOD = '''"""Mine."""
from keras import ops
from fer_keras.methods.base import Method

class Brier(Method):
    def sample_losses(self, y, outputs, training):
        return ops.sum((ops.softmax(outputs["logits"]) - y) ** 2, axis=-1)

def build(network, class_names):
    return Brier(network, class_names)
'''
DATASET = '''"""Mine: ROOT/CLASS-NUMBER.png."""
from fer_keras.data.samples import DatasetInfo, Example, SourceContent

NAMES = ("anger", "happiness")
INFO = DatasetInfo(
    name="named_files", title="Named files", class_names=NAMES, codes={}, official_counts={},
    splits=("train", "validation"), licence="Mine.", citation="", how_to_get="", needs_path=True,
)

def find(folder):
    return folder

def source_files(source):
    return sorted(source.glob("*.png"))

def read(source):
    all = [Example(p, NAMES.index(p.stem.split("-")[0]), p.name) for p in source_files(source)]
    return SourceContent(NAMES, {"train": all[::2], "validation": all[1::2]})
'''


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the three files and 16 pictures."""
    import cv2

    for name, text in (("mynet", NETWORK), ("mymethod", METHOD), ("mydata", DATASET)):
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for number in range(16):
        name = ("anger", "happiness")[number // 2 % 2]
        picture = rng.integers(0, 256, (24, 24), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "pictures" / f"{name}-{number}.png"), picture)
    return tmp_path


def with_files(files: Path) -> Any:
    return dataclasses.replace(
        load_experiment("cross_entropy"),
        dataset=DatasetConfig(
            name=str(files / "mydata.py"), source=str(files / "pictures"), image_size=24
        ),
        network=NetworkConfig(str(files / "mynet.py"), {"filters": 2}),
        method=MethodConfig(str(files / "mymethod.py")),
    )


def test_a_run_with_own_files_is_read_without_the_network(
    files: Path, monkeypatch: pytest.MonkeyPatch, eager: None, undrawn: None
) -> None:
    monkeypatch.chdir(files)
    words = ["--exp", "cross_entropy", "--no-mlflow", "--run-dir", "run"]
    for setting in (
        "network.name=mynet.py", "network.options.filters=2", "method.name=mymethod.py",
        "dataset.name=mydata.py", "dataset.source=pictures", "dataset.image_size=24",
        "training.epochs=1", "training.batch_size=8", "augmentation=none",
    ):  # fmt: skip
        words += ["--set", setting]
    assert train.main(words) == 0
    result = json.loads((files / "run" / "result.json").read_text())
    assert result["dataset"] == "named_files"
    assert result["tracked_as"].startswith("named_files-pictures-")
    assert result["own_files"] == {
        f"own_{part}.py": file_sha256(files / f"{name}.py")
        for part, name in (("dataset", "mydata"), ("network", "mynet"), ("method", "mymethod"))
    }
    (files / "mynet.py").unlink()
    assert load_model(files / "run").class_names == ("anger", "happiness")


def test_full_paths_and_files_that_changed(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    experiment = dataclasses.replace(
        load_experiment("cross_entropy"), network=NetworkConfig("mynet.py")
    )
    experiment = with_full_paths(experiment)
    assert experiment.network.name == str(files / "mynet.py")
    assert experiment.method.name == "cross_entropy"
    run = files / "run"
    run.mkdir()
    keep_own_files(run, experiment)
    keep_own_files(run, experiment)
    (files / "mynet.py").write_text(NETWORK + "\n")
    with pytest.raises(ConfigError, match=r"another version of a file of your own. Mend: copy "):
        keep_own_files(run, experiment)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("x = 1\n", ConfigError, r"network: expected `build` at the top level .*/fer_keras/models"),
        ("def build(:\n", ConfigError, r"network: the file fails \(SyntaxError"),
        ("import no_such\ndef build(): ...\n", ConfigError, r"fails \(ModuleNotFoundError"),
        (
            NETWORK.replace('{"logits": logits, "embedding": x}', "logits"),
            ConfigError,
            r"outputs are a dict with `logits` \(batch, 8\). Received: .*mynet.py",
        ),
        (
            NETWORK.replace("Dense(num_classes", "Dense(5"), ConfigError, r"Received: \['embedding"
        ),
        (
            NETWORK.replace(
                "def build",
                "class Odd(keras.layers.Layer):\n    def call(self, x):\n        return x\n\n"
                "def build",
            ).replace("(x)\n    logits", '(x)\n    x = Odd(name="odd")(x)\n    logits'),
            ModelFileError,
            r"holds .*Odd; only Keras' own layers and those of fer_keras",
        ),
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_used_is_refused_before_any_data(
    text: str, error: Any, message: str, files: Path
) -> None:
    (files / "mynet.py").write_text(text)
    with pytest.raises(error, match=message):
        check_parts(with_files(files))


def test_wrong_paths_and_options(files: Path) -> None:
    experiment = with_files(files)
    network = NetworkConfig(str(files / "mynet.py"), {"filter": 2})
    with pytest.raises(ConfigError, match=r"no option 'filter'\. Nearest: filters"):
        check_parts(dataclasses.replace(experiment, network=network))
    with pytest.raises(ConfigError, match=r"method: expected a file of your own\. There is none"):
        check_parts(dataclasses.replace(experiment, method=MethodConfig("none.py")))
    with pytest.raises(ConfigError, match=r"Unknown network 'mynet'.* A file of your own: path/to"):
        fer_keras.build_model("mynet")
    (files / "mydata.py").write_text(DATASET.replace("named_files", "folder"))
    with pytest.raises(DataError, match=r"a name of its own\. Received: 'folder'"):
        dataset_module(str(files / "mydata.py"))


def test_a_study_of_ones_own(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = files / "mystudy.py"
    path.write_text(
        '"""Mine."""\n\ndef add_arguments(parser):\n    parser.add_argument("words", nargs="*")\n\n'
        "def run(arguments):\n    return '-'.join(arguments.words)\n"
    )
    assert study.main([str(path), "a", "b"]) == 0
    assert capsys.readouterr().out == "a-b\n"
