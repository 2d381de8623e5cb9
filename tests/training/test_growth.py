"""Branches added one after the other: what each stage trains, and that nothing is lost."""

import dataclasses
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fer_keras.data.splits as splits_module
from fer_keras.common.errors import ConfigError
from fer_keras.config import (
    DatasetConfig,
    Experiment,
    GrowthConfig,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
    load_experiment,
)
from fer_keras.data.samples import Samples, one_hot
from fer_keras.loading.keras_files import load_network
from fer_keras.training.callbacks import Interrupted, RunState
from fer_keras.training.run import run
from fer_keras.training.stages.growth import grow, stages
from fer_keras.training.stages.run_stages import run_stages
from fer_keras.training.task import stage_rates

NAMES = ("neutral", "happiness", "anger")
EXPERIMENT = Experiment(
    name="growing",
    dataset=DatasetConfig(name="synthetic_faces", per_class=6),
    network=NetworkConfig("esr", {"variant": "ckplus", "num_branches": 2, "width": 1 / 16}),
    method=MethodConfig("branch_ensemble"),
    training=TrainingConfig(
        epochs=1,
        batch_size=6,
        optimizer="sgd",
        learning_rate=0.01,
        warmup_epochs=0.0,
        layer_rates={"*_logits": 1.0},
    ),
    growth=GrowthConfig(first=1, first_epochs=2, old_rate=0.0),
)


def samples(split: str, n: int) -> Samples:
    rng = np.random.default_rng(len(split))
    labels = np.arange(n) % 3
    images = rng.integers(0, 80, (n, 42, 42, 1)) + 80 * labels[:, None, None, None]
    facts = {
        "source": np.array([f"{split}:{i}" for i in range(n)]),
        "sha256": np.array([f"{split}{i:060d}" for i in range(n)]),
        "subject": np.array([""] * n),
    }
    return Samples(
        "synthetic_faces", split, NAMES, "hard", images.astype(np.uint8), one_hot(labels, 3), facts
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, undrawn: None) -> list[tuple[str, ...]]:
    """The sources of the training images of every stage, drawn from thirty of each class."""
    seen: list[tuple[str, ...]] = []
    whole = samples("train", 90)

    def load(config: DatasetConfig, seed: int) -> tuple[Samples, Samples, Samples]:
        train = splits_module.balanced_draw(whole, config.per_class, (seed, config.per_class_seed))
        seen.append(tuple(train.facts["source"].tolist()))
        return train, samples("validation", 9), whole

    monkeypatch.setattr(splits_module, "load_splits", load)
    return seen


def test_stages_differ_in_branches_pictures_and_epochs(tmp_path: Path) -> None:
    four = dataclasses.replace(
        EXPERIMENT, network=NetworkConfig("esr", {"num_branches": 4, "width": 0.5})
    )
    made = stages(four, tmp_path)
    assert [e.network.options["num_branches"] for e, _ in made] == [1, 2, 3, 4]
    assert [folder.name for _, folder in made[:3]] == ["branches-1", "branches-2", "branches-3"]
    assert [e.dataset.per_class_seed for e, _ in made] == [3, 2, 1, 0]
    assert [e.training.epochs for e, _ in made] == [2, 1, 1, 1]
    assert [e.growth.previous for e, _ in made[1:]] == [str(folder) for _, folder in made[:3]]
    # All but the last are plain runs, which go on by themselves.
    assert [e.growth.first for e, _ in made] == [0, 0, 0, 1]
    last, folder = made[-1]
    assert folder == tmp_path
    assert dataclasses.replace(last, growth=EXPERIMENT.growth) == four
    assert stages(last, tmp_path) == made
    assert [stage_rates(e) for e, _ in made[:3]] == [
        {"*_logits": 1.0},
        {"*": 0.0, "branch2_*": 1.0, "*_logits": 1.0},
        {"*": 0.0, "branch3_*": 1.0, "*_logits": 1.0},
    ]
    recipe = dataclasses.replace(four.training, layer_rates={"base*": 0.5})
    rates = stage_rates(dataclasses.replace(made[1][0], training=recipe))
    assert rates == {"*": 0.0, "branch2_*": 1.0, "base*": 0.5}


@pytest.mark.parametrize("options", [{}, {"num_branches": 1}])
def test_a_network_that_cannot_grow_is_refused(options: dict[str, Any], tmp_path: Path) -> None:
    two = dataclasses.replace(
        EXPERIMENT, network=NetworkConfig("esr", options), growth=GrowthConfig(first=2)
    )
    with pytest.raises(ConfigError, match=r"growth\.first=2: expected .*num_branches"):
        stages(two, tmp_path)


def test_a_growth_keeps_what_it_has_and_goes_on_bit_for_bit(
    drawn: list[tuple[str, ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    store: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import mlflow

    original = RunState.on_train_batch_end

    def interrupt(self: RunState, batch: int, logs: Any = None) -> None:
        # Inside the stage of both branches, which has one epoch of three steps.
        if self._training.epochs == 1 and self._progress.step == 1:
            signal.raise_signal(signal.SIGINT)
        original(self, batch, logs)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(RunState, "on_train_batch_end", interrupt)
        with pytest.raises(Interrupted):
            run_stages(EXPERIMENT, folder)
    assert not (folder / "best.keras").exists()
    last = load_experiment(str(folder))
    result = run_stages(last, folder, resume=True)
    assert f"from {folder / 'branches-1' / 'best.keras'}" in result["initial_weights"]
    assert "fresh: branch2_conv1" in result["initial_weights"]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert run_stages(last, folder, resume=True) == result
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert f"nothing is left to do in {folder}" in capsys.readouterr().out
    run(last, tmp_path / "straight", track=False)
    assert not list(folder.rglob("state.npz"))
    first, second, straight = (
        load_network(each / "best.keras")[0]
        for each in (folder / "branches-1", folder, tmp_path / "straight")
    )
    for array, other in zip(second.get_weights(), straight.get_weights(), strict=True):
        np.testing.assert_array_equal(array, other)
    assert first.output["branch_logits"].shape[1:] == (1, 3)
    assert second.output["branch_logits"].shape[1:] == (2, 3)
    # A rate of 0 freezes: weights and moving statistics are those of the stage before. What the
    # recipe names has its own.
    heads = [n.get_layer("branch1_logits").get_weights()[0] for n in (first, second)]
    assert not np.array_equal(*heads)
    for layer in (layer for layer in first.layers if layer.name != "branch1_logits"):
        for mine, theirs in zip(
            layer.get_weights(), second.get_layer(layer.name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)
    # Each stage has its own draw of six from each class.
    assert len(drawn[0]) == len(drawn[1]) == 18
    assert set(drawn[0]) != set(drawn[1]) == set(drawn[2])

    parent = (folder / "mlflow_run_id.txt").read_text().strip()
    stage = mlflow.get_run((folder / "branches-1" / "mlflow_run_id.txt").read_text().strip())
    assert stage.data.tags["mlflow.parentRunId"] == parent
    assert mlflow.get_run(parent).data.params["training.layer_rates.all_logits"] == "1.0"
    curve = mlflow.MlflowClient().get_metric_history(parent, "accuracy_by_branches")
    assert {point.step for point in curve} == {1}
    assert mlflow.get_run(parent).data.metrics["best_accuracy"] == pytest.approx(
        result["accuracy"], abs=1e-5
    )


def test_a_growth_interrupted_in_an_earlier_stage_goes_on_there(tmp_path: Path) -> None:
    seen: list[tuple[str, bool]] = []

    def train(experiment: Experiment, run_dir: Path, *, resume: bool, **_: Any) -> dict[str, Any]:
        seen.append((run_dir.name, resume))
        run_dir.mkdir(exist_ok=True)
        (run_dir / "experiment.json").touch()
        if len(seen) == 2:
            raise Interrupted
        (run_dir / "result.json").write_text('{"accuracy": 0.5}')
        return {"accuracy": 0.5}

    three = dataclasses.replace(EXPERIMENT, network=NetworkConfig("esr", {"num_branches": 3}))
    record: dict[str, Any] = {"command": "", "track": False, "parent_run_id": "", "part": ""}
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        grow(three, folder, train, resume=False, report=lambda _: None, **record)
    with pytest.raises(ConfigError, match="already holds this run"):
        grow(three, folder, train, resume=False, report=lambda _: None, **record)
    last = stages(three, folder)[-1][0]
    grow(last, folder, train, resume=True, report=lambda _: None, **record)
    assert seen == [
        ("branches-1", False),
        ("branches-2", False),
        ("branches-2", True),
        ("run", True),
    ]
