"""The one assembly of a training builds what every shipped experiment asks for."""

import math
from pathlib import Path

import pytest
from test_train import small_experiment

import fer_keras.data.splits as splits
from fer_keras.common.errors import ConfigError
from fer_keras.config import list_experiments, override
from fer_keras.loading.keras_files import load_network
from fer_keras.training.task import build_task


@pytest.mark.parametrize("name", list_experiments())
def test_task_of_every_experiment(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = small_experiment(name, tmp_path, monkeypatch)
    train, validation, _ = splits.load_splits(experiment.dataset, experiment.seed)
    task = build_task(experiment, train, validation)
    assert task.method.optimizer.built
    assert (task.class_weights is None) == (experiment.training.class_weights == "none")
    if experiment.method.options.get("teacher"):
        assert "first.keras" in task.teacher
    bases = experiment.network.options.get("bases", ())
    if experiment.network.weights or any(isinstance(base, str) for base in bases):
        assert "first.keras" in task.weights_from
        assert f"weights {task.weights_from.split(';')[0]}" in capsys.readouterr().out
    if experiment.training.layer_rates:
        names = [layer.name for layer in task.method.network.layers if layer.trainable_weights]
        frozen = [layer.name for layer in task.method.network.layers if not layer.trainable]
        assert names
        assert bool(frozen) == (0 in experiment.training.layer_rates.values())
    # A frozen layer still is a part of the network: its size does not depend on the recipe.
    trained = sum(math.prod(v.shape) for v in task.method.trainable_variables)
    is_frozen = 0 in experiment.training.layer_rates.values()
    assert task.num_parameters > trained if is_frozen else task.num_parameters == trained
    if is_frozen:
        task.save(task.method.network, tmp_path / "kept.keras")
        kept, _ = load_network(tmp_path / "kept.keras")
        parameters = sum(math.prod(v.shape) for v in kept.trainable_variables)
        assert parameters == sum(
            math.prod(v.shape)
            for layer in task.method.network.layers
            for v in layer.weights
            if not v.path.endswith(("moving_mean", "moving_variance"))
        )


def test_the_prior_is_taken_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = small_experiment("cross_entropy", tmp_path, monkeypatch)
    experiment = override(
        experiment, ["method.options.prior_tau=1", "training.class_weights=balanced"]
    )
    train, validation, _ = splits.load_splits(experiment.dataset, experiment.seed)
    with pytest.raises(ConfigError, match="Set one of them"):
        build_task(experiment, train, validation)
