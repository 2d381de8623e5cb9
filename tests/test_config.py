"""Experiments: loading, overrides by type, JSON round trip, clear refusals."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.config import (
    Experiment,
    all_keys,
    from_json,
    list_experiments,
    load_experiment,
    override,
    to_json,
)

EXPERIMENTS = sorted(list_experiments())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_shipped_experiment(name: str) -> None:
    experiment = load_experiment(name)
    assert experiment.name == name
    assert from_json(to_json(experiment)) == experiment
    assert list_experiments()[name].endswith(".")


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("training.epochs=3", 3),
        ("training.learning_rate=1e-3", 1e-3),
        ("training.learning_rate=1", 1.0),
        ("training.nesterov=false", False),
        ("training.optimizer=adam", "adam"),
        ("dataset.channels=3", 3),
        ("dataset.source=a=b", "a=b"),
        ("seed=7", 7),
    ],
)
def test_override_parses_by_type(assignment: str, value: object) -> None:
    changed = override(Experiment("x"), [assignment])
    for part in assignment.split("=")[0].split("."):
        changed = getattr(changed, part)
    assert changed == value
    assert type(changed) is type(value)


def test_options_take_json() -> None:
    changed = override(
        Experiment("x"), ["method.options.scale=24", "network.options.widths=[8, 16]"]
    )
    assert changed.method.options == {"scale": 24}
    assert changed.network.options == {"widths": [8, 16]}


def test_override_leaves_the_original() -> None:
    original = Experiment("x")
    override(original, ["training.epochs=3"])
    assert original == Experiment("x")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.epoch=3", "training.epochs"),
        ("trainings.epochs=3", "training.epochs"),
        ("training.epochs=x", "expected int"),
        ("training.epochs=0", "at least 1"),
        ("training.optimizer=sdg", "sgd, adam, adamw"),
        ("training.nesterov=maybe", "true or false"),
        ("dataset.channels=2", "1, 3"),
        ("training=3", "group of keys"),
        ("training.epochs", "part.field=value"),
        ("method.options=3", "method.OPTION|options.OPTION|OPTION=value"),
    ],
)
def test_bad_override(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(Experiment("x"), [assignment])


def test_every_key_can_be_set() -> None:
    assert "training.epochs" in all_keys()
    assert "dataset.name" in all_keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[]", "expected an object"),
        ('{"name": "x", "trainig": {}}', "training"),
        ('{"name": "x", "seed": "1"}', "seed: expected int"),
        ('{"name": "x", "training": {"epochs": true}}', "expected int"),
        ("{}", "needs a name"),
    ],
)
def test_bad_json(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_json(text)


def test_unknown_experiment_lists_near_ones() -> None:
    with pytest.raises(ConfigError, match="word2vec"):
        load_experiment("wordvec")


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from fer_keras.config import Experiment\nexperiment = Experiment('mine')\n")
    assert load_experiment(str(file)) == Experiment("mine")
    file.write_text("experiment = 3\n")
    with pytest.raises(ConfigError, match="module attribute"):
        load_experiment(str(file))
    file.write_text("1 / 0\n")
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        load_experiment(str(file))


def test_a_run_folder_is_an_experiment(tmp_path: Path) -> None:
    experiment = dataclasses.replace(Experiment("x"), seed=3)
    (tmp_path / "experiment.json").write_text(to_json(experiment))
    assert load_experiment(str(tmp_path)) == experiment


def test_configuration_imports_no_tensorflow() -> None:
    code = (
        "import sys, fer_keras.train, fer_keras.config as c; c.list_experiments();"
        "print([m for m in ('tensorflow', 'keras', 'mlflow', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
