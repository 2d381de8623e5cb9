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
print(keras.backend.backend(), "sklearn" in sys.modules, "matplotlib" in sys.modules)
import matplotlib, sklearn, jax
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
    assert done.stdout.split() == ["False", "False", backend, "False", "False"]
