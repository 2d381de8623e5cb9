"""The list of shipped models."""

import json
from pathlib import Path

import pytest
from tiny_models import write_export

import fer_keras
from fer_keras.common.errors import ModelFileError
from fer_keras.models import __main__ as command
from fer_keras.runtime import shipped


def test_the_table_has_what_the_manifests_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"ferplus", "ferplus_tiny", "fer2013"} <= set(fer_keras.list_models())
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    manifest = json.loads((shipped.default_model() / "manifest.json").read_text())
    # What the file answers that users run, by the prior that it takes where none is given.
    figures = manifest["prior_figures"]["with_prior"]
    shares = [f"{figures[key]:.1%}" for key in ("accuracy", "balanced_accuracy")]
    row = next(line for line in lines if line.startswith("ferplus ")).split()
    assert row[1:6] == [*shares, "3199", manifest["default_prior"], "int8"]
    assert any(manifest["training"]["dataset_licence"] in line for line in lines)


def test_a_model_that_says_little_is_listed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shipped, "_PLACES", (tmp_path / "a", tmp_path / "b"))
    folder = write_export(tmp_path / "b" / "mine")
    capsys.readouterr()  # What made the models.
    assert command.main(["--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["name"], facts["accuracy"], facts["precision"]) == ("mine", None, "float32")
    assert facts["weights"].endswith("mine/model_float32.tflite")
    assert command.main([]) == 0
    assert fer_keras.Recognizer("mine", detector="none").manifest["name"] == "tiny"
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(ModelFileError, match="not a readable manifest"):
        command.main([])


def test_an_unknown_name_lists_what_is_shipped() -> None:
    with pytest.raises(ModelFileError, match=r"Shipped models: .*ferplus_tiny.* Received: no_such"):
        fer_keras.Recognizer("no_such")
