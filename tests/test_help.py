"""The `--help` of every command: it answers, and waits for no heavy package."""

import subprocess
import sys
from pathlib import Path

import pytest

import fer_keras
from fer_keras.studies import list_studies

_HEAVY = {"tensorflow", "keras", "mlflow", "sklearn", "scipy", "matplotlib"}
_ROOT = Path(fer_keras.__file__).parent
_COMMANDS = [path.stem for path in sorted(_ROOT.glob("*.py")) if "run_command(" in path.read_text()]
_COMMANDS += ["data", *(f"study {name}" for name in list_studies())]


def test_commands_are_found() -> None:
    assert {"train", "camera", "data", "study", "study robustness"} <= {*_COMMANDS}


@pytest.mark.parametrize("command", _COMMANDS)
def test_help_imports_nothing_heavy(command: str) -> None:
    name, *study = command.split()
    words = [sys.executable, "-X", "importtime", "-m", f"fer_keras.{name}", *study, "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "usage:" in done.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "fer_keras" in imported
    assert not _HEAVY & imported
