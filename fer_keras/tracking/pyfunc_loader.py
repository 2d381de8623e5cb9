"""What `mlflow.pyfunc.load_model` and `mlflow models serve` call to load a model from here."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.common.errors import ModelFileError
from fer_keras.tracking.mlflow_model import CLASSES_FILE


class NetworkOfRun:
    """Pictures as numbers in, a table of probabilities out.

    Args:
        folder: With the `.keras` file and the names of the classes.
    """

    def __init__(self, folder: Path) -> None:
        import keras

        self.class_names = json.loads((folder / CLASSES_FILE).read_text(encoding="utf-8"))
        self.network = keras.saving.load_model(folder / "model.keras", safe_mode=True)

    def predict(self, images: Any, params: dict[str, Any] | None = None) -> Any:
        """Probabilities of every class.

        Args:
            images: `(n, height, width, channels)` raw pixels 0..255.
            params: Unused; part of MLflow's signature.

        Returns:
            A `pandas.DataFrame`, a column for each class.
        """
        import pandas  # type: ignore[import-untyped]

        values = np.asarray(self.network.predict(np.asarray(images), verbose=0), np.float64)
        return pandas.DataFrame(values, columns=self.class_names)


class PicturesOfExport:
    """Picture files in, label and probabilities out; each picture is one face.

    Args:
        folder: An export folder.
    """

    def __init__(self, folder: Path) -> None:
        from fer_keras.runtime.recognizer import Recognizer

        self.recognizer = Recognizer(folder, detector="none")

    def predict(self, pictures: Any, params: dict[str, Any] | None = None) -> Any:
        """The most probable label and the probability of every class.

        Args:
            pictures: A `pandas.DataFrame` with the column `picture`: the bytes of picture files.
            params: Unused; part of MLflow's signature.

        Returns:
            A `pandas.DataFrame` with `dominant` and a column for each class.
        """
        import pandas

        shares = self.recognizer.predict_proba(list(pictures["picture"]))
        names = [str(name) for name in self.recognizer.classes_]
        table = pandas.DataFrame(shares.astype(np.float64), columns=names)
        table.insert(0, "dominant", [names[i] for i in shares.argmax(axis=1)])
        return table


def _load_pyfunc(path: str) -> NetworkOfRun | PicturesOfExport:
    """The model in a folder; the name is MLflow's."""
    folder = Path(path)
    if (folder / CLASSES_FILE).is_file():
        return NetworkOfRun(folder)
    if (folder / "manifest.json").is_file():
        return PicturesOfExport(folder)
    raise ModelFileError(f"Expected {CLASSES_FILE} or an export's manifest.json in {folder}")
