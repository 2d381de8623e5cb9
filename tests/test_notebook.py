"""The notebooks of the documentation run from top to bottom."""

import re
from pathlib import Path

import pytest

_DOCS = Path(__file__).parents[1] / "docs"
# To draw all 5,600 takes a minute. Export wants all of validation: 99 % of it the same answer.
_FEWER_FACES = """
from fer_keras.data.datasets import synthetic_faces
synthetic_faces.SPLIT_SIZES = {"train": 400, "validation": 800, "test": 80}
"""


def _shown(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the cells of a notebook print, on fewer faces."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("FER_KERAS_CACHE", str(folder / "cache"))
    notebook = nbformat.read(_DOCS / name, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(_FEWER_FACES))
    where = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=where).execute()
    return "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )


def test_quickstart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QUICKSTART_IMAGES", "320")
    monkeypatch.setenv("QUICKSTART_EPOCHS", "1")
    shown = _shown("quickstart.ipynb", tmp_path, monkeypatch)
    assert "'logits': (None, 8)" in shown
    assert "accuracy" in shown
    assert "contempt" in shown
    assert " of 18 right" in shown


def test_finetune(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FINETUNE_IMAGES", "320")
    monkeypatch.setenv("FINETUNE_EPOCHS", "3")
    shown = _shown("finetune.ipynb", tmp_path, monkeypatch)
    (figures,) = re.findall(r"before: ([0-9.]+), after: ([0-9.]+) ", shown)
    before, after = map(float, figures)
    assert after > before + 0.05
    assert (tmp_path / "mine.keras").is_file()
