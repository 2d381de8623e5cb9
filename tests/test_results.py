"""The figures in the README are those of the result files."""

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def test_the_table_is_current() -> None:
    script = [sys.executable, str(_ROOT / "docs" / "results_table.py")]
    table = subprocess.run(script, capture_output=True, text=True, check=True).stdout.strip()
    assert table.count("\n") >= 2
    assert table in (_ROOT / "README.md").read_text(encoding="utf-8")
