"""The notebook of the documentation runs from top to bottom."""

from pathlib import Path

import pytest

_NOTEBOOK = Path(__file__).parents[1] / "docs" / "quickstart.ipynb"
# To draw all 5,600 takes a minute. Export wants all of validation: 99 % of it the same answer.
_FEWER_FACES = """
from fer_keras.data.datasets import synthetic_faces
synthetic_faces.SPLIT_SIZES = {"train": 400, "validation": 800, "test": 80}
"""


def test_quickstart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("FER_KERAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("QUICKSTART_IMAGES", "320")
    monkeypatch.setenv("QUICKSTART_EPOCHS", "1")
    notebook = nbformat.read(_NOTEBOOK, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(_FEWER_FACES))
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=where).execute()
    shown = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "'logits': (None, 8)" in shown
    assert "accuracy" in shown
    assert "contempt" in shown
    assert " of 18 right" in shown
