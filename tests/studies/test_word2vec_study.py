"""The study of words: costs of mistakes, families of words, compound faces, and its report."""

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.common.labels import EMOTIONS
from fer_keras.config import load_experiment, override
from fer_keras.data.drawn_faces.face_parameters import Expression
from fer_keras.studies import word2vec
from fer_keras.studies.shared import series
from fer_keras.studies.shared.trained_rows import Outcome, Row
from fer_keras.studies.word2vec.compound_faces import COMPOUNDS, combine, draw_compounds
from fer_keras.studies.word2vec.semantics import (
    CompoundScores,
    OpenWords,
    compound_scores,
    mistakes,
    word_families,
)

NAMES = ("anger", "fear", "happiness")


def write_predictions(path: Path, pairs: list[tuple[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["source", "true", "predicted"])
        writer.writerows([str(i), *pair] for i, pair in enumerate(pairs))


def test_a_mistake_costs_the_distance_of_its_words(tmp_path: Path) -> None:
    near = np.array([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]])
    path = tmp_path / "predictions_validation.csv"
    write_predictions(path, [("anger", "anger"), ("anger", "fear"), ("happiness", "fear")])
    cost = mistakes(path, NAMES, near)
    assert cost.error == pytest.approx((0 + 0.1 + 0.8) / 3)
    assert cost.of_mistakes == pytest.approx((0.1 + 0.8) / 2)
    # From anger: fear 0.1 or happiness 0.9; from happiness: anger 0.9 or fear 0.8.
    assert cost.at_random == pytest.approx((0.5 + 0.85) / 2)


def test_every_class_has_a_family_of_words() -> None:
    families = word_families()
    assert set(families.values()) == {*EMOTIONS, ""}
    members = {"furious": "anger", "glad": "happiness", "astonished": "surprise", "bored": ""}
    assert {word: families[word] for word in members} == members


def test_compounds_are_scored_by_pairs() -> None:
    parts = (("happiness", "surprise"), ("sadness", "fear"), ("sadness", "anger"))
    scores = np.full((3, 8), -1.0)
    index = {name: i for i, name in enumerate(EMOTIONS)}
    for row, values in enumerate(
        ({"happiness": 3, "surprise": 2}, {"fear": 3, "neutral": 2, "sadness": 1}, {"neutral": 9})
    ):
        for name, value in values.items():
            scores[row, index[name]] = value
    found = compound_scores(scores, EMOTIONS, parts)
    assert (found.both, found.nearest, found.either) == pytest.approx((1 / 3, 2 / 3, 2 / 3))
    assert found.chances == pytest.approx((1 / 28, 1 / 3, 1 / 4))
    # With orthonormal vectors all sums are as long, so vectors change nothing.
    same = compound_scores(scores, EMOTIONS, parts, np.eye(8))
    assert same.nearest == found.nearest
    # The sum of two near vectors is long: its cosine is smaller than the sum of cosines says.
    close = np.array([[1, 0], [0.6, 0.8], [0.6, -0.8], [0, 1]])
    faces = close @ (close[0] + close[1]) / np.linalg.norm(close[0] + close[1])
    names = ("anger", "fear", "happiness", "sadness")
    pair = compound_scores(faces[None], names, (("anger", "fear"),), close)
    assert pair.nearest == 1


def test_drawn_compounds_show_both_parts() -> None:
    shown = combine(
        Expression({1: 0.2, 12: 0.9}, {12: 0.5}, 0.9), Expression({1: 0.8}, {1: 0.1}, 0.5)
    )
    assert shown == Expression({1: 0.8, 12: 0.9}, {1: 0.1, 12: 0.5}, 0.9)
    faces = draw_compounds(2)
    assert faces.images.shape == (24, 48, 48, 1)
    assert faces.parts[:12] == tuple(COMPOUNDS)
    np.testing.assert_array_equal(draw_compounds(1).images, faces.images[:12])
    assert len({picture.tobytes() for picture in faces.images}) == 24
    assert {part for pair in COMPOUNDS for part in pair} < set(EMOTIONS)


def test_every_loss_towards_all_vectors_and_the_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Row] = {}

    def train(row: Row, run_dir: Path, seed: int, **_: Any) -> Outcome:
        override(load_experiment(row.experiment), row.changes)
        seen[run_dir.name] = row
        run_dir.mkdir()
        write_predictions(run_dir / "predictions_validation.csv", [("anger", "fear")])
        figures = {
            "accuracy": 0.5, "n": 10, "dataset": "fer2013", "split": "validation",
            "label_rule": "hard", "balanced_accuracy": 0.5,
        }  # fmt: skip
        training = {"epochs": 2, "training_minutes": 1.5, "seed": seed}
        return Outcome(row, run_dir, figures, training, {"a": True}, "train")

    class Held:
        class_names = NAMES

    monkeypatch.setattr(series, "train_row", train)
    monkeypatch.setattr(word2vec, "run_samples", lambda folder, split: (Held(), None))
    monkeypatch.setattr(word2vec, "true_cosines", lambda outcome, samples: np.full(5, 0.3))
    words = OpenWords(0.4, (0.3, 0.5), 0.1, 10, {"anger": [("mad", 0.6)]})
    monkeypatch.setattr(word2vec, "_open_words", lambda *_: {"cosine word": words})
    scores = CompoundScores(0.5, 0.6, 0.9, 24, (0.036, 0.083, 0.25), ())
    monkeypatch.setattr(word2vec, "_compounds", lambda *_: {"cosine, word": scores})
    parser = argparse.ArgumentParser()
    word2vec.add_arguments(parser)
    text = word2vec.run(parser.parse_args(["--no-mlflow", "--output", str(tmp_path)]))
    assert len(seen) == 14
    assert next(iter(seen)) == "cross_entropy-seed0"
    failure = seen["absolute_cosine_word-seed0"].changes
    assert "method.options.loss=absolute_cosine" in failure
    assert "method.options.valence_arousal=true" in seen["cosine_valence_arousal-seed0"].changes
    assert "0.400 [0.300, 0.500]" in text
    assert "anger and fear" in text
    assert "mad 60%" in text
    for name in ("", "_mistakes", "_cosines", "_failure", "_compounds"):
        assert (tmp_path / f"word2vec{name}.png").stat().st_size > 1000
    with (tmp_path / "word2vec.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 14
