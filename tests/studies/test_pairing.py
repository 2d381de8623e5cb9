"""The studies of neutral faces: what they train, and what they make of it."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.config import load_experiment, override
from fer_keras.studies import embeddings, pairing
from fer_keras.studies.shared.trained_rows import Outcome, Row


def outcome(row: Row, run_dir: Path, right: int) -> Outcome:
    """A made-up run that is right on the first pictures of ten."""
    figures = {
        "accuracy": right / 10, "accuracy_interval": [right / 10 - 0.1, right / 10 + 0.1], "n": 10,
        "balanced_accuracy": right / 20,
        "dataset": "synthetic_faces", "split": "test", "label_rule": "majority",
    }  # fmt: skip
    training = {"trainable_parameters": 1234, "training_minutes": 0.5}
    answers = {str(number): number < right for number in range(10)}
    return Outcome(row, run_dir, figures, training, answers, f"train {row.label}")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> dict[str, Row]:
    """Rows in the order they are trained; each one right once more than the one before."""
    seen: dict[str, Row] = {}

    def train(row: Row, run_dir: Path, seed: int, *, track: bool) -> Outcome:
        assert (seed, track) == (3, False)
        # Every setting of every row is one of its experiment.
        override(load_experiment(row.experiment), row.changes)
        seen[run_dir.name] = row
        return outcome(row, run_dir, len(seen) % 10)

    for module in (embeddings, pairing):
        monkeypatch.setattr(module, "train_row", train)
    return seen


def arguments(module: Any, folder: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args(["--seed", "3", "--no-mlflow", "--output", str(folder), *words])


def test_embeddings_has_every_control_beside_the_published_figures(
    trained: dict[str, Row], tmp_path: Path
) -> None:
    text = embeddings.run(arguments(embeddings, tmp_path))
    published = {name: row.published for name, row in trained.items() if row.published}
    assert published == {"vit_se": "0.347", "difference": "0.336", "disentangled": "0.3804"}
    encoder = f"network.options.encoder={tmp_path / 'emotion_encoder'}"
    heads = {name for name, row in trained.items() if encoder in row.changes}
    assert heads == set(trained) - {"vit_se", "difference", "emotion_encoder"}
    assert {"face", "probe", "only_difference", "absolute", "session"} <= heads
    # face is the fourth row (4 of 10 right), the probe the fifth: one picture more, p = 1.
    assert "+10.0 (p 1)" in next(line for line in text.splitlines() if "linear probe" in line)
    record = json.loads((tmp_path / "embeddings.json").read_text())
    assert record["disentangled"]["accuracy"] == 0.6
    assert "train face alone" in (tmp_path / "embeddings.md").read_text()


def test_embeddings_beside_an_encoder_that_knows_the_person(
    trained: dict[str, Row], tmp_path: Path
) -> None:
    weights = tmp_path / "face-api.tgz"
    with pytest.raises(DataError, match=r"no such file: .*face-api\.tgz"):
        embeddings.run(arguments(embeddings, tmp_path, "--identity-weights", str(weights)))
    weights.touch()
    words = ("--identity-weights", str(weights))
    with pytest.raises(ConfigError, match="Leave one of them out"):
        embeddings.run(arguments(embeddings, tmp_path, "--published", *words))
    assert not trained
    text = embeddings.run(arguments(embeddings, tmp_path, *words))
    rows = {name: row for name, row in trained.items() if name.startswith("identity_")}
    assert len(rows) == 9
    encoders = {"none": "none", "random": "compact", "face_features": "face_resnet"}
    for name, identity in encoders.items():
        first = rows[f"identity_{name}"]
        network = override(load_experiment(first.experiment), first.changes).network
        assert network.options["identity"] == identity
        for head in ("disentangled", "session"):
            changes = rows[f"identity_{name}_{head}"].changes
            assert f"network.options.encoder={tmp_path / f'identity_{name}'}" in changes
    # It is the 19th row, right on 9 of 10 pictures, and its control is the 16th.
    line = next(line for line in text.splitlines() if "| face features;" in line)
    assert "| 0.900 [0.800, 1.000] | 0.450 | +30.0 (p 0.25) |" in " ".join(line.split())
    record = json.loads((tmp_path / "embeddings.json").read_text())
    assert record["identity_random_session"]["balanced_accuracy"] == pytest.approx(0.35)


def test_the_published_embeddings_change_nothing_but_the_weights(
    trained: dict[str, Row], tmp_path: Path
) -> None:
    embeddings.run(arguments(embeddings, tmp_path, "--published", "--imagenet"))
    assert trained["vit_se"].changes == ()
    assert trained["difference"].changes == ("network.options.encoder_weights=imagenet",)
    assert "session" not in trained


def test_pairing_compares_every_rule_and_several_partners(
    trained: dict[str, Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        pairing, "partner_accuracies", lambda folder, n: [0.4 + 0.1 * i for i in range(n)]
    )
    text = pairing.run(arguments(pairing, tmp_path, "--partners", "3"))
    assert list(trained) == ["encoder", "face", *pairing._RULES]
    assert all("dataset.image_size=128" in row.changes for row in trained.values())
    assert "0.500 ± 0.100 (3)" in text
    assert (tmp_path / "pairing.png").stat().st_size > 1000
    trained.clear()
    words = ("--encoder", "runs/mine", "--dataset", "ctbc", "--image-size", "48")
    pairing.run(arguments(pairing, tmp_path, *words))
    assert list(trained) == ["face", "same_subject", "random_neutral", "mean_neutral"]
    assert "dataset.split=subjects" in trained["face"].changes
    with pytest.raises(ConfigError, match="2 or more"):
        pairing.run(arguments(pairing, tmp_path, "--partners", "1"))
