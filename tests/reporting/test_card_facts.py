"""What a card and a report say is so: rare classes, crops, commands."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fer_keras.reporting.card import _own_crops, _rare
from fer_keras.reporting.run_page.sections import commands


def row(support: int, recall: float | None, precision: float | None) -> dict[str, Any]:
    return {"support": support, "recall": recall, "precision": precision}


def test_a_balanced_set_with_few_pictures_has_no_seldom_class() -> None:
    validation = {"per_class": {"bored": row(15, 0.9, 0.9), "drowsy": row(15, 0.8, 0.9)}}
    said = _rare(validation, {"bored": 0.5, "drowsy": 0.5})
    assert "bored (15), drowsy (15)" in said
    assert "interval beside it: do not build" in said
    assert "seldom" not in said
    assert "few to learn from" not in said


def test_rare_classes_are_named_with_what_is_true_of_each() -> None:
    per_class = {
        "neutral": row(1000, 0.9, 0.9), "fear": row(62, 0.6, 0.7), "contempt": row(13, 0.1, 0.5),
        "disgust": row(24, 0.0, None),
    }  # fmt: skip
    prior = {"neutral": 0.6, "fear": 0.2, "contempt": 0.01, "disgust": 0.02}
    said = _rare({"per_class": per_class}, prior)
    assert "there were few to learn from (contempt, disgust)" in said
    assert "the model seldom answers with contempt, disgust" in said
    assert "neutral" not in said
    assert _rare({"per_class": {"neutral": row(1000, 0.9, 0.9)}}, {}) == ""


def test_crops_of_ones_own_folder(tmp_path: Path) -> None:
    assert _own_crops("") == ""
    assert _own_crops(str(tmp_path / "pictures")) == ""
    settings = {"detector": "mtcnn", "align": True, "size": 112, "draw": False}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    assert _own_crops(str(tmp_path / "pictures")) == (
        "by `data crop` with mtcnn, turned upright by their landmarks, 112 x 112 pixels"
    )
    # Another folder beside such a file.
    assert _own_crops(str(tmp_path / "other")) == ""
    (tmp_path / "settings.json").write_text(json.dumps({"align": False}))
    assert _own_crops(str(tmp_path / "pictures")) == ""


@pytest.mark.parametrize("given", ["runs/a b", "{root}/runs/a b"])
def test_commands_of_a_report_run_where_it_was_made(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_dir = Path(given.format(root=tmp_path))
    command = "python -m fer_keras.train --exp x --run-dir 'runs/a b' --seed 1"
    content: Any = SimpleNamespace(
        results={"validation": {"command": command}}, run_dir=run_dir, manifest={}, studies=()
    )
    assert commands(content).splitlines() == [
        "python -m fer_keras.train --exp x --seed 1",
        "python -m fer_keras.evaluate 'runs/a b'",
        "python -m fer_keras.report 'runs/a b'",
    ]
    content.run_dir = Path("/elsewhere/run")
    assert "python -m fer_keras.evaluate /elsewhere/run" in commands(content)
