"""The diversity study: what it trains, and likeness over the epochs."""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.config import load_experiment, override
from fer_keras.studies import diversity
from fer_keras.studies.shared import series
from fer_keras.studies.shared.trained_rows import Outcome, Row

NAMES = ("control", "logdet", "det", "direct", "legacy")


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    diversity.add_arguments(parser)
    return parser.parse_args(["--no-mlflow", *words])


def test_rows_differ_from_the_control_in_the_loss_alone() -> None:
    made = diversity.rows(arguments("--legacy", "--weight", "0.3", "--epochs", "2"))
    assert tuple(made) == NAMES
    options = {}
    for name, row in made.items():
        experiment = override(load_experiment(row.experiment), row.changes)
        assert experiment.training.epochs == 2
        options[name] = dict(experiment.method.options)
    assert options["control"]["diversity_weight"] == 0
    assert {options[name]["diversity_weight"] for name in NAMES[1:]} == {0.3}
    assert [options[name].get("diversity_kind") for name in NAMES[1:]] == [
        "logdet", "det", "direct", "det"
    ]  # fmt: skip
    assert options["legacy"]["diagonal"] == "zero_legacy"
    with pytest.raises(ConfigError, match=r"method\.options\.diversity"):
        diversity.rows(arguments("--experiment", "cross_entropy"))


def test_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(row: Row, run_dir: Path, seed: int, **_: Any) -> Outcome:
        run_dir.mkdir(parents=True)
        likeness = 0.8 if run_dir.name.startswith("control") else 0.2
        lines = [
            {
                "epoch": epoch, "val_accuracy": 0.3 + 0.1 * epoch + 0.02 * seed,
                "val_vote_accuracy": 0.6, "val_diversity_loss": 1.5,
                "val_mean_similarity": likeness + 0.01 * seed - 0.02 * epoch,
            }
            for epoch in (1, 2, 3)
        ]  # fmt: skip
        (run_dir / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
        right = 5 + seed + (likeness < 0.5)
        figures = {
            "accuracy": right / 10, "accuracy_interval": [0.3, 0.9], "n": 10,
            "balanced_accuracy": 0.5, "dataset": "ferplus", "split": "validation",
            "label_rule": "majority",
        }  # fmt: skip
        training = {"best_epoch": 2, "epochs": 3, "training_minutes": 1.0, "seed": seed}
        answers = {str(number): number < right for number in range(10)}
        return Outcome(row, run_dir, figures, training, answers, f"train {run_dir.name}")

    monkeypatch.setattr(series, "train_row", train)
    out = tmp_path / "out"
    words = ("--seeds", "0", "1", "--kinds", "logdet", "--output", str(out))
    text = diversity.run(arguments(*words))
    none, logdet = (line for line in text.splitlines() if line.startswith(("| none", "| -log")))
    # Likeness at the kept epoch: .8 - .04 and .81 - .04, then .2 less.
    assert "0.5500 ± 0.0707" in none
    assert "0.765 ± 0.007" in none
    assert "+10.00 (p 1, 1)" in logdet
    assert "0.165 ± 0.007" in logdet
    assert "2 seeds, 3 epochs each; 4 trainings, 4 minutes in all" in text
    with (out / "diversity.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["diversity"], row["seed"]) for row in found] == [
        ("control", "0"), ("control", "1"), ("logdet", "0"), ("logdet", "1")
    ]  # fmt: skip
    assert (out / "diversity.png").stat().st_size > 1000
