"""The figures in the pages are those of the result files."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

_ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    """The script that writes the tables."""
    path = _ROOT / "docs" / "results_table.py"
    spec = importlib.util.spec_from_file_location("results_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_runs_is_current(tables: ModuleType) -> None:
    table = tables.table()
    assert table.count("\n") >= 2
    assert table in (_ROOT / "docs" / "measurements.md").read_text(encoding="utf-8")


def test_the_comparisons_are_current(tables: ModuleType) -> None:
    text = tables.comparison_tables()
    assert text.count("###") >= 2
    assert text in (_ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    assert "/work" not in text
