"""Fixtures and settings for all tests."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before Keras and TensorFlow are imported, which read these once.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
# Processes of pytest-xdist share the cores; more threads than cores only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    for threads in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(threads, "1")

import pytest

_SHARED = Path(__file__).parents[2] / "shared" / "data"


# The files that take longest, the longest first.
_LONG = ("test_backends.py", "test_train.py", "test_models.py", "test_notebook.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On another backend than TensorFlow only the marked subset runs; what is long comes first."""
    # One of two processes would be left alone with them for minutes.
    items.sort(
        key=lambda item: _LONG.index(item.path.name) if item.path.name in _LONG else len(_LONG)
    )
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        return
    skip = pytest.mark.skip(reason="runs on the TensorFlow backend")
    for item in items:
        if "backends" not in item.keywords:
            item.add_marker(skip)


@pytest.fixture
def eager() -> Iterator[None]:
    """Steps run operation by operation: a graph takes seconds to trace, and the test few steps."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def few_faces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The built-in faces are 480, in a cache of the test's own: to draw all takes a minute."""
    sizes = {"train": 320, "validation": 80, "test": 80}
    monkeypatch.setattr("fer_keras.data.datasets.synthetic_faces.SPLIT_SIZES", sizes)
    monkeypatch.setenv("FER_KERAS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _same_precision() -> Iterator[None]:
    """The next test's networks are of float32, whatever this one has trained in."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].config.set_dtype_policy("float32")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made and left empty files: to draw the three of a run takes two seconds."""
    # In matplotlib: a module that is first imported in this test would keep a stand-in of ours.
    from matplotlib.figure import Figure

    draw = Figure.savefig

    def save(figure: Any, path: Path, **settings: Any) -> None:
        if settings.get("format") == "png":  # As `save_figure` has it; a sweep's is drawn.
            path.touch()
        else:
            draw(figure, path, **settings)

    monkeypatch.setattr(Figure, "savefig", save)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real data sets; the test is skipped where there is none."""
    given = os.environ.get("FER_KERAS_DATA")
    root = Path(given) if given else _SHARED
    if not (root / "fer2013").is_dir():
        pytest.skip("needs FER2013 under FER_KERAS_DATA")
    return root.resolve()


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the whole session, so that a data set is prepared once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def _empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store without runs; making its tables takes seconds, so it is made once."""
    import mlflow

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(_empty_store: Path, _own_places: None, tmp_path: Path) -> Path:
    """The test's own MLflow store, which `MLFLOW_TRACKING_URI` names."""
    path = tmp_path / "mlflow.db"
    shutil.copy(_empty_store, path)
    return path


@pytest.fixture(autouse=True)
def _own_places(monkeypatch: pytest.MonkeyPatch, shared_cache: Path, tmp_path: Path) -> None:
    """No test sees the user's data, cache, runs or tracking server."""
    monkeypatch.setenv("FER_KERAS_CACHE", str(shared_cache))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.delenv("FER_KERAS_DATA", raising=False)
