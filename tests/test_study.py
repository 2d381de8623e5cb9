"""The study command: finding studies, their contract, and refusals."""

import argparse
import subprocess
import sys

import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.studies import list_studies, study_module
from fer_keras.study import main


def test_the_list_names_every_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(list_studies())
    assert "robustness" in list_studies()
    assert not {"base", "robustness_report"} & set(list_studies())


@pytest.mark.parametrize("name", list_studies())
def test_every_study_keeps_the_contract(name: str) -> None:
    module = study_module(name)
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    assert callable(module.run)
    assert list_studies()[name].endswith(".")
    assert f"python -m fer_keras.study {name}" in module.__doc__


@pytest.mark.parametrize("name", list_studies())
def test_every_study_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"python -m fer_keras.study {name}" in shown
    assert list_studies()[name] in shown


def test_an_unknown_study_lists_near_ones() -> None:
    with pytest.raises(ConfigError, match=r"Unknown study 'robust'.*Nearest: robustness"):
        main(["robust", "model"])


def test_a_name_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"Expected the name of a study: .*robustness"):
        main([])


def test_help_and_list_import_nothing_heavy() -> None:
    code = (
        "import sys, fer_keras.study as s; s.main(['--list']);"
        "print([m for m in ('tensorflow', 'keras', 'mlflow', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
