"""Experiments: loading, overrides by type, JSON round trip, clear refusals."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fer_keras import config
from fer_keras.common.errors import ConfigError
from fer_keras.config import (
    DatasetConfig,
    Experiment,
    GrowthConfig,
    MethodConfig,
    NetworkConfig,
    all_keys,
    based_on,
    experiments_folder,
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


def test_a_variant_is_the_experiment_written_out() -> None:
    base = load_experiment("affectnet_esr")
    variant = based_on(
        "affectnet_esr",
        name="mine",
        dataset={"image_size": 64},
        network={"options": {"attention": True}, "weights": "affectnet_esr"},
        method=MethodConfig("valence_arousal"),
        training={"layer_rates": {"*": 0}, "learning_rate": 1},
        growth=GrowthConfig(),
        seed=3,
    )
    assert variant == dataclasses.replace(
        base,
        name="mine",
        dataset=dataclasses.replace(base.dataset, image_size=64),
        network=NetworkConfig("esr", {"num_branches": 9, "attention": True}, "affectnet_esr"),
        method=MethodConfig("valence_arousal"),
        training=dataclasses.replace(base.training, layer_rates={"*": 0.0}, learning_rate=1.0),
        growth=GrowthConfig(),
        seed=3,
    )
    assert load_experiment("affectnet_esr") == base


def test_a_whole_part_takes_the_place_of_the_base_s() -> None:
    variant = based_on("affectnet_esr", name="mine", dataset=DatasetConfig("rafdb"))
    assert variant.dataset == DatasetConfig("rafdb")


def test_options_stay_with_their_network() -> None:
    variant = based_on(
        "ctbc_vit_se", name="mine", network={"name": "compact", "options": {"widths": [8]}}
    )
    assert variant.network == NetworkConfig("compact", {"widths": [8]})
    named = based_on("ctbc_vit_se", name="mine", network={"name": "vit_se"})
    assert named.network == load_experiment("ctbc_vit_se").network


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"epoch": 3}}, r"mine, based on affectnet_esr: .*training\.epochs?.*epochs"),
        ({"trainings": {"epochs": 3}}, "trainings.*training"),
        ({"training": {"epochs": "3"}}, "training.epochs: expected int"),
        ({"training": 3}, "training: expected an object"),
        ({"dataset": NetworkConfig()}, "Unknown key 'dataset.options'"),
        ({"network": {"options": 3}}, "network.options: expected an object of options"),
    ],
)
def test_bad_variant(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        based_on("affectnet_esr", name="mine", **changes)


def test_an_unknown_base_names_the_variant_and_near_ones() -> None:
    with pytest.raises(ConfigError, match=r"mine, based on affectnet_ers: .*affectnet_esr"):
        based_on("affectnet_ers", name="mine")


def _variant_file(file: Path, base: str) -> None:
    file.write_text(
        "from fer_keras.config import based_on\n"
        f"experiment = based_on({base!r}, name={file.stem!r}, seed=1)\n"
    )


def test_a_variant_of_ones_own_file(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine.py", tmp_path / "other.py"
    _variant_file(mine, "affectnet_esr_diversified")
    _variant_file(other, str(mine))
    expected = load_experiment("affectnet_esr_diversified")
    assert load_experiment(str(other)) == dataclasses.replace(expected, name="other", seed=1)


def test_a_circle_of_experiments_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first.py", tmp_path / "second.py"
    _variant_file(first, str(second))
    _variant_file(second, str(first))
    with pytest.raises(ConfigError, match=r"circle: \S*first.py -> \S*second.py -> \S*first.py"):
        load_experiment(str(first))
    monkeypatch.chdir(tmp_path)
    _variant_file(first, "first.py")
    with pytest.raises(ConfigError, match=r"circle: \S*first.py -> \S*first.py"):
        load_experiment("first.py")
    _variant_file(first, "affectnet_esr")
    assert load_experiment("first.py").name == "first"


def test_a_variant_reads_its_base_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = config._import_file
    monkeypatch.setattr(config, "_import_file", lambda p: (read.append(p.stem), original(p))[1])
    load_experiment("rafdb_manet_diversified")
    # What differs from the source is read from the same files.
    assert list(dict.fromkeys(read)) == ["rafdb_manet_diversified", "rafdb_manet", "ferplus_manet"]


def test_experiments_import_the_configuration_alone() -> None:
    for path in experiments_folder().glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not isinstance(node, ast.Import), path
            assert getattr(node, "module", None) in (None, "fer_keras.config"), path


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
