"""What the imports of the big packages bring with them, in a fresh process."""

import os
import subprocess
import sys

import pytest

_CODE = """
import os, sys
from fer_keras.common.quiet import load_keras, load_tensorflow
load_tensorflow()
print("keras" in sys.modules, "jax" in sys.modules)
os.environ["KERAS_BACKEND"] = sys.argv[1]
load_keras()
import keras
print(keras.backend.backend(), *(name in sys.modules for name in ("sklearn", "matplotlib", "jax")))
import matplotlib, sklearn, jax
# As keras-cv does.
from tensorflow.keras import backend
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_backend_is_open_after_tensorflow_is_loaded(backend: str) -> None:
    """TensorFlow loaded Keras, so that a backend that was chosen by a trial was not taken."""
    pytest.importorskip("jax")
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", _CODE, backend], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        "False",
        "False",
        backend,
        "False",
        "False",
        str(backend == "jax"),
    ]


_START = """
import sys
from fer_keras import train

def load() -> None:
    print("scipy" in sys.modules, "mlflow" in sys.modules, "tensorflow" in sys.modules)
    sys.exit()

train.load_tensorflow = load
train.main(["--exp", "word2vec", "--set", "dataset.name=synthetic_faces", "--run-dir", "here"])
"""


def test_a_training_says_what_it_is_before_tensorflow_is_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", _START], capture_output=True, text=True)
    first, loaded = done.stdout.splitlines()
    assert first == "word2vec seed 0  dataset=synthetic_faces  here"
    assert loaded == "False False False"


_END = """
import gc
from fer_keras.common.errors import run_command
from fer_keras.common.quiet import load_keras

def main() -> int:
    load_keras()
    # Frozen, and what is collected later is not: the next search passes over them.
    print(gc.isenabled(), gc.get_freeze_count() > 100_000, len(gc.get_objects()) < 50_000)
    return 3

run_command(main)
"""


def test_the_garbage_collector_passes_over_loaded_modules() -> None:
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, "-c", _END], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == ["True", "True", "True"], done.stderr
    assert done.returncode == 3
