"""A package that is missing is named with the command that brings it, before any work starts."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.common.installed import is_installed, require, require_keras

COMMANDS = {
    "train": ["--exp", "cross_entropy"],
    "export": ["RUN"],
    "sweep": ["cross_entropy", "--grid", "seed=0,1"],
    "evaluate": ["RUN"],
    "compare": ["RUN", "RUN"],
    "report": ["RUN"],
    "study": ["robustness", "RUN"],
    "ui": [],
    "data": ["prepare", "synthetic_faces"],
}


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes some packages look as if they were not installed."""
    find = importlib.util.find_spec

    def hide(*packages: str) -> None:
        def find_others(name: str, package: str | None = None) -> Any:
            return None if name in packages else find(name, package)

        monkeypatch.setattr(importlib.util, "find_spec", find_others)

    return hide


def test_what_is_there_passes() -> None:
    assert is_installed("numpy")
    require("this", "keras", "tensorflow")


def test_all_that_is_missing_is_named_with_one_command(without: Any) -> None:
    without("keras", "sklearn", "jax")
    with pytest.raises(ConfigError) as error:
        require("this", "keras", "sklearn", "scipy", "jax")
    assert str(error.value) == (
        "this needs keras, scikit-learn, JAX, not installed here. "
        "Install with: pip install 'fer_keras[train,jax]'"
    )


@pytest.mark.parametrize(("backend", "title"), [("jax", "JAX"), ("torch", "PyTorch")])
def test_a_missing_backend_is_named(
    backend: str, title: str, without: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(backend)
    require_keras("this")
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(ConfigError, match=rf"needs {title}.*fer_keras\[{backend}\]"):
        require_keras("this")


def test_a_backend_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    with pytest.raises(ConfigError, match=r"KERAS_BACKEND: expected .* Received: 'theano'"):
        require_keras("this")


def test_the_network_of_a_file_says_what_it_needs(without: Any, tmp_path: Path) -> None:
    from fer_keras.loading.keras_files import network_of

    without("keras")
    with pytest.raises(ConfigError, match=r"fer_keras\[train\]"):
        network_of(b"", tmp_path / "best.keras")


@pytest.mark.parametrize("name", ["build_model", "load_dataset"])
def test_the_public_functions_say_what_they_need(name: str, without: Any) -> None:
    import fer_keras

    without("keras", "tensorflow", "tensorflow_datasets")
    # Already the name: its module may import what is missing.
    with pytest.raises(ConfigError, match=r"fer_keras\[train\]"):
        getattr(fer_keras, name)("compact" if name == "build_model" else "synthetic_faces", "train")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_base_install_says_what_it_needs(command: str, tmp_path: Path) -> None:
    hidden, folder = tmp_path / "hidden", tmp_path / "folder"
    hidden.mkdir()
    folder.mkdir()
    # Finds none of the packages that the extra `train` brings.
    (hidden / "sitecustomize.py").write_text(
        "import sys\n"
        "for name in ('keras', 'tensorflow', 'tensorflow_datasets', 'sklearn', 'scipy', "
        "'matplotlib', 'mlflow', 'optuna', 'gensim', 'keras_cv'):\n"
        "    sys.modules[name] = None\n",
        encoding="utf-8",
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", f"fer_keras.{command}", *COMMANDS[command]],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(hidden), str(root)))},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: python -m fer_keras.{command}")
    assert done.stderr.count("\n") == 1
    assert "pip install 'fer_keras[train]'" in done.stderr
    assert not list(folder.iterdir())
