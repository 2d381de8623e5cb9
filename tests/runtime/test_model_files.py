"""Which file of which folder is taken."""

from pathlib import Path
from typing import Any

import pytest
from tiny_models import tflite, write_export

from fer_keras.common.errors import ModelFileError
from fer_keras.runtime import Recognizer, default_model, shipped
from fer_keras.runtime.export_files import read_model_files
from fer_keras.runtime.shipped import DEFAULT_MODEL


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that lies elsewhere, without a model."""
    places = (tmp_path / "saved_models", tmp_path / "fer_keras" / "saved_models")
    monkeypatch.setattr(shipped, "_PLACES", places)
    return tmp_path


def test_the_shipped_model_of_a_checkout(checkout: Path) -> None:
    folder = write_export(checkout / "saved_models" / DEFAULT_MODEL)
    write_export(checkout / "fer_keras" / "saved_models" / DEFAULT_MODEL)
    assert default_model() == folder
    assert Recognizer(detector="none").manifest["name"] == "tiny"


def test_the_shipped_model_of_a_wheel(checkout: Path) -> None:
    folder = write_export(checkout / "fer_keras" / "saved_models" / DEFAULT_MODEL)
    assert default_model() == folder


def test_without_one_the_message_says_how_to_make_it(checkout: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no model is shipped.*fer_keras\.ship.*Looked"):
        Recognizer()


def test_the_manifest_names_the_default_precision(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "a", extra={"default_precision": "int8"})
    assert read_model_files(folder).path.name == "model_int8.tflite"
    assert read_model_files(folder, "float32").path.name == "model_float32.tflite"
    assert read_model_files(write_export(tmp_path / "b")).path.name == "model_float32.tflite"
    only = write_export(tmp_path / "c", int8=tflite("int8"))
    assert read_model_files(only).path.name == "model_int8.tflite"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "float16",
            r"default_precision: expected one of \['float32', 'int8'\], received 'float16'",
        ),
        (8, "default_precision: expected str, received 8"),
        (None, "default_precision: expected str, received None"),
    ],
)
def test_a_wrong_default_precision(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        Recognizer(write_export(tmp_path, extra={"default_precision": value}))
