"""The studies of votes and of mixing: what they train, and what they make of it."""

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.config import load_experiment, override
from fer_keras.data.samples import Samples
from fer_keras.studies import mixing, votes
from fer_keras.studies.shared import series
from fer_keras.studies.shared.trained_rows import Outcome, Row
from fer_keras.studies.votes import vote_distances


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> dict[str, Row]:
    """Rows in the order they are trained; each one right once more than the one before."""
    seen: dict[str, Row] = {}

    def train(row: Row, run_dir: Path, seed: int, **options: Any) -> Outcome:
        assert options == {"track": False, "split": "validation", "parent_run_id": ""}
        # Every setting of every row is one of its experiment.
        experiment = override(load_experiment(row.experiment), row.changes)
        assert (experiment.dataset.name, experiment.training.epochs) == ("ferplus", 2)
        seen[run_dir.name] = row
        right = min(len(seen), 10)
        figures = {
            "accuracy": right / 10, "n": 10, "dataset": "ferplus", "split": "validation",
            "label_rule": "majority", "balanced_accuracy": 0.5, "ece": 0.1, "nll": 0.8,
        }  # fmt: skip
        training = {
            "epochs": 2, "training_minutes": 1.5, "train_images": 1000 * right, "seed": seed,
            "best_epoch": 1,
        }  # fmt: skip
        answers = {str(number): number < right for number in range(10)}
        return Outcome(row, run_dir, figures, training, answers, f"train {row.label}")

    monkeypatch.setattr(series, "train_row", train)
    return seen


def arguments(module: Any, folder: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args(["--epochs", "2", "--no-mlflow", "--output", str(folder), *words])


def test_distances_to_votes() -> None:
    shares = np.array([[0.5, 0.5, 0], [1, 0, 0]])
    assert vote_distances(shares.astype(float), shares) == (0, 0)
    divergence, variation = vote_distances(np.array([[0.25, 0.5, 0.25], [0.5, 0.5, 0]]), shares)
    assert divergence == pytest.approx((0.5 * np.log(2) + np.log(2)) / 2)
    assert variation == pytest.approx((0.25 + 0.5) / 2)


def test_votes_has_a_row_for_every_scheme(
    trained: dict[str, Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = np.array([[0.6, 0.4], [1.0, 0.0]], np.float32)
    samples = Samples(
        "ferplus", "validation", ("neutral", "anger"), "distribution",
        np.zeros((2, 4, 4, 1), np.uint8), shares, {},
    )  # fmt: skip
    monkeypatch.setattr(votes, "_all_votes", lambda outcome, split: samples)
    monkeypatch.setattr(votes, "_probabilities", lambda outcome, samples: np.eye(2)[[0, 0]])
    text = votes.run(arguments(votes, tmp_path, "--seeds", "0", "1"))
    assert list(trained) == [f"{s}-seed{n}" for n in "01" for s in ("mv", "ml", "pld", "cel", "kl")]
    rules = {
        name: override(load_experiment(row.experiment), row.changes).dataset.label_rule
        for name, row in trained.items()
    }
    assert list(rules.values())[:5] == [
        "majority", "multi_target", "probability", "crossentropy", "distribution"
    ]  # fmt: skip
    lines = {line.split("|")[1].strip()[:3]: line for line in text.splitlines() if "|" in line}
    assert "0.8499 ± 0.0037" in lines["PLD"]
    assert lines["KL:"].rstrip(" |").endswith("0.2000"), "nothing was published of it"
    assert "1,000" in lines["MV:"]
    with (tmp_path / "votes.csv").open() as file:
        rows = list(csv.DictReader(file))
    # 0.6 log(0.6 / 1) + 0.4 log(0.4 / 1e-12), half the pictures.
    expected = (0.6 * np.log(0.6) + 0.4 * np.log(0.4e12)) / 2
    assert float(rows[0]["kl_to_votes"]) == pytest.approx(expected, rel=1e-5)
    assert [row["seeds"] for row in rows] == ["0 1"] * 5
    for name in ("votes.png", "votes_distances.png", "votes.md"):
        assert (tmp_path / name).stat().st_size > 500


def test_mixing_changes_nothing_but_the_policy(trained: dict[str, Row], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Unknown augmentation"):
        mixing.run(arguments(mixing, tmp_path, "--policies", "cutmix"))
    text = mixing.run(arguments(mixing, tmp_path, "--policies", "none", "light", "cut_mix"))
    changes = [set(row.changes) for row in trained.values()]
    assert changes[0] ^ changes[2] == {"augmentation=none", "augmentation=cut_mix"}
    assert "light + CutMix" in text
    assert "+20.00 (p 0.5)" in text, "1 of 10 against 3 of 10"
    for name in ("mixing.png", "mixing_errors.png", "mixing_faces.png", "mixing.csv"):
        assert (tmp_path / name).stat().st_size > 200
    given = arguments(mixing, tmp_path)
    assert list(mixing.rows(given)) == [
        "none", "light", "cut_mix", "cut_mix_halves", "mix_up", "rand_augment"
    ]  # fmt: skip
