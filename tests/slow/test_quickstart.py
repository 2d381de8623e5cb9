"""The notebook of the documentation as it is written, with all its faces and epochs."""

import re
from pathlib import Path

import pytest

_NOTEBOOK = Path(__file__).parents[2] / "docs" / "quickstart.ipynb"


def test_it_ends_with_a_network_that_reads_the_drawn_faces(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("FER_KERAS_CACHE", str(tmp_path / "cache"))
    notebook = nbformat.read(_NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=3600, resources=where).execute()
    shown = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    accuracies = [float(value) for value in re.findall(r"val_accuracy: ([0-9.]+)", shown)]
    assert accuracies[-1] > 0.7
    (right,) = re.findall(r"(\d+) of 18 right", shown)
    assert int(right) >= 9
