"""One name for all commands: the list, what is passed on, and what it costs to ask."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fer_keras
from fer_keras.__main__ import commands, main
from fer_keras.common.errors import ConfigError

_ROOT = Path(fer_keras.__file__).parent


def test_every_command_is_listed_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    files = {path.stem for path in _ROOT.glob("*.py") if "run_command(" in path.read_text()}
    rooms = {path.parent.name for path in _ROOT.glob("*/__main__.py")}
    assert set(commands()) == files - {"__main__"} | rooms
    assert "data" in rooms
    assert main([]) == 0
    listed = capsys.readouterr().out
    for name, line in commands().items():
        assert line
        assert "`python" not in line
        assert f"  {name} " in listed
        assert line in listed


def test_the_rest_is_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--list"]) == 0
    assert "word2vec" in capsys.readouterr().out
    assert main(["data", "list"]) == 0
    assert "fer2013" in capsys.readouterr().out


def test_a_wrong_name_has_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"Unknown command 'trian'. Nearest: train."):
        main(["trian"])


def test_the_console_script_runs_it() -> None:
    settings = tomllib.loads((_ROOT.parent / "pyproject.toml").read_text())
    assert settings["project"]["scripts"] == {"fer_keras": "fer_keras.__main__:run"}
    # As the script that pip writes does it, from another folder and with an error of the command.
    code = "import sys; from fer_keras.__main__ import run; sys.exit(run())"
    words = [sys.executable, "-c", code, "predict", "missing.jpg"]
    found = {**os.environ, "PYTHONPATH": str(_ROOT.parent)}
    done = subprocess.run(words, capture_output=True, text=True, cwd="/", env=found)
    assert done.returncode == 2
    assert done.stderr == (
        "error: expected a picture, a video or a folder, found nothing. Check the path: "
        "missing.jpg\n"
    )


def test_the_list_imports_no_command() -> None:
    code = "import sys; from fer_keras.__main__ import main; main([]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not {"numpy", "cv2", "argparse", "fer_keras.train", "fer_keras.predict"} & loaded
