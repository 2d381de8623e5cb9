"""A run's network, and an export's TFLite file, in the form of an MLflow model.

MLflow's own loaders read both: `mlflow.keras.load_model` and `mlflow.pyfunc.load_model` a run,
`mlflow.pyfunc.load_model` an export. Nothing in them is pickled. `fer_keras.tracking.pyfunc_loader`
is what MLflow calls to load them for prediction.
"""

import json
import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from fer_keras.loading.classifier import LoadedModel
from fer_keras.loading.keras_files import load_network
from fer_keras.loading.load import load_model
from fer_keras.runtime.export_files import read_model_files

LOADER = "fer_keras.tracking.pyfunc_loader"
FLAVOR = "fer_keras_tflite"
CLASSES_FILE = "class_names.json"
EXPORT_FOLDER = "export"
# Of a run folder, beside the model: what every command of the package reads it by.
RUN_FILES = (
    "best.keras", "experiment.json", "result.json", "calibration.json", "labels.txt", "card.md",
)  # fmt: skip
_RUNTIME = ("numpy", "opencv-python-headless", "opencv-python", "ai-edge-litert", "pandas")
_BACKENDS = {"tensorflow": ("tensorflow",), "jax": ("jax",), "torch": ("torch",)}


def write_run_model(run_dir: Path, folder: Path, *, model_id: str = "", run_id: str = "") -> None:
    """Writes the kept network of a run as an MLflow model, with the run's files beside it.

    The network has one output, the calibrated probabilities, and wherever that is possible Keras'
    own layers alone, so that it is loaded without this package. The folder is also a run folder.

    Args:
        run_dir: A finished run.
        folder: Is made.
        model_id: MLflow's, for the record in the model.
        run_id: MLflow's.

    Raises:
        ModelFileError: The run has no network that can be read.
    """
    import keras
    import mlflow
    from mlflow.models import Model

    from fer_keras.models.graphs import keras_only

    model = load_model(run_dir)
    network, _ = load_network(run_dir / "best.keras")
    plain = keras_only(network, model.temperature)
    example = _example(model)
    described = Model(model_id=model_id or None, run_id=run_id or None)
    mlflow.keras.save_model(
        plain,
        str(folder),
        mlflow_model=described,
        signature=_tensor_signature(model),
        pip_requirements=_requirements(("keras", *_BACKENDS[keras.backend.backend()], *_RUNTIME)),
    )
    names = json.dumps(list(model.class_names))
    (folder / "data" / CLASSES_FILE).write_text(names + "\n", encoding="utf-8")
    described.flavors["python_function"]["loader_module"] = LOADER
    described.flavors["python_function"]["data"] = "data"
    _save(described, example, folder)
    for name in RUN_FILES:
        if (run_dir / name).is_file():
            shutil.copyfile(run_dir / name, folder / name)


def write_export_model(export: Path, folder: Path, *, precision: str | None = None) -> None:
    """Writes an export as an MLflow model that reads picture files, by LiteRT alone.

    Args:
        export: An export folder, such as a shipped model.
        folder: Is made.
        precision: Which of its files; None = the one that it is run by.

    Raises:
        ModelFileError: No export folder, or a damaged one.
    """
    import cv2
    import mlflow
    import pandas  # type: ignore[import-untyped]
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    files = read_model_files(export, precision)
    side = files.image_size or (48, 48)
    encoded, picture = cv2.imencode(".png", np.full(side, 128, np.uint8))
    columns = [ColSpec(DataType.string, "dominant")]
    columns += [ColSpec(DataType.double, name) for name in files.class_names]
    described = Model(
        signature=ModelSignature(Schema([ColSpec(DataType.binary, "picture")]), Schema(columns))
    )
    described.add_flavor(FLAVOR, file=files.path.name, data=f"data/{EXPORT_FOLDER}")
    with TemporaryDirectory(prefix="fer_keras-") as place:
        copy = Path(place) / EXPORT_FOLDER
        # What a program runs; the SavedModel of an export is larger than all of it.
        left_out = shutil.ignore_patterns("saved_model*", "*.keras")
        shutil.copytree(files.path.parent, copy, ignore=left_out)
        mlflow.pyfunc.save_model(
            str(folder),
            loader_module=LOADER,
            data_path=str(copy),
            mlflow_model=described,
            pip_requirements=_requirements(_RUNTIME),
        )
    if encoded:
        _save(described, pandas.DataFrame({"picture": [picture.tobytes()]}), folder)


def _save(described: Any, example: Any, folder: Path) -> None:
    from mlflow.models.utils import _save_example

    _save_example(described, example, str(folder))
    described.save(str(folder / "MLmodel"))


def _example(model: LoadedModel) -> np.ndarray:
    """A grey picture: data sets may not be passed on."""
    several = () if model.input_kind == "image" else (model.num_pictures,)
    return np.full((1, *several, *model.image_shape), 128, np.uint8)


def _tensor_signature(model: LoadedModel) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    shape = (-1, *_example(model).shape[1:])
    answers = [ColSpec(DataType.double, name) for name in model.class_names]
    return ModelSignature(Schema([TensorSpec(np.dtype(np.uint8), shape)]), Schema(answers))


def _requirements(packages: Sequence[str]) -> list[str]:
    """The installed versions; MLflow's own search for them would take half a minute."""
    found = ["mlflow"]
    for package in packages:
        try:
            # What stands behind a plus, `+cpu`, is on no index.
            found.append(f"{package}=={version(package).split('+')[0]}")
        except PackageNotFoundError:
            continue
    return found
