from dataclasses import replace

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.config import DatasetConfig
from fer_keras.data.datasets.synthetic_faces import draw_samples
from fer_keras.data.pairs import make_pairs, with_neutral
from fer_keras.data.pipeline import evaluation_dataset
from fer_keras.data.samples import Samples, one_hot

_CLASSES = ("neutral", "fear")


def _samples(subjects: list[str], labels: list[int], split: str = "train") -> Samples:
    """Each picture is of one grey value, its row number; 100 more for the test split."""
    count = len(labels)
    first = 0 if split == "train" else 100
    values = np.arange(first, first + count)
    return Samples(
        name="made",
        split=split,
        class_names=_CLASSES,
        label_rule="hard",
        images=np.broadcast_to(values[:, None, None, None], (count, 4, 4, 1)).astype(np.uint8),
        targets=one_hot(np.array(labels), 2),
        facts={
            "source": np.array([f"{split}{value}" for value in values]),
            "sha256": np.array([f"h{value}" for value in values]),
            "subject": np.array(subjects),
        },
    )


TRAIN = _samples(["a", "a", "a", "b", "b", "c"], [0, 0, 1, 0, 1, 1])
HELD_OUT = _samples(["d", "d", "d", "e"], [0, 0, 1, 1], "test")


def test_same_subject_gives_another_neutral_face_of_the_person() -> None:
    targets = HELD_OUT.take([0, 1, 2])
    pairs = make_pairs(targets, TRAIN, "same_subject")
    first, last = pairs.samples.images[:][:, 0, 0, 0, 0], pairs.samples.images[:][:, 1, 0, 0, 0]
    assert last.tolist() == [100, 101, 102]
    assert first.tolist()[:2] == [101, 100]
    assert first[2] in (100, 101)
    assert pairs.samples.facts["neutral_policy"].tolist() == ["same_subject"] * 3


def test_a_copy_of_the_picture_is_no_partner() -> None:
    targets = HELD_OUT.take([0, 1, 2])
    targets = replace(targets, facts={**targets.facts, "sha256": np.array(["x", "x", "y"])})
    with pytest.raises(DataError, match="2 of 3 pictures"):
        make_pairs(targets, TRAIN, "same_subject")


def test_a_person_without_neutral_faces() -> None:
    with pytest.raises(DataError, match=r"1 of 4 .* the first is test103"):
        make_pairs(HELD_OUT, TRAIN, "same_subject")
    dropped = make_pairs(HELD_OUT, TRAIN, "same_subject", if_alone="drop")
    assert len(dropped.samples) == 3
    filled = make_pairs(HELD_OUT, TRAIN, "same_subject", if_alone="random_neutral")
    assert filled.samples.facts["neutral_policy"].tolist() == ["same_subject"] * 3 + [
        "random_neutral"
    ]
    assert filled.samples.images[3][0, 0, 0, 0] in (0, 1, 3)
    assert filled.samples.facts["neutral_source"][3].startswith("train")


def test_random_neutrals_come_from_train_and_never_are_the_target() -> None:
    for seed in range(20):
        pairs = make_pairs(TRAIN, TRAIN, "random_neutral", num_neutrals=2, seed=seed)
        values = pairs.samples.images[:][..., 0, 0, 0]
        assert values.shape == (6, 3)
        assert set(values[:, :2].ravel()) <= {0, 1, 3}
        assert (values[:, 0] != values[:, 1]).all()
        assert (values[:, :2] != values[:, 2:]).all()
    other = make_pairs(TRAIN, TRAIN, "random_neutral", num_neutrals=2, seed=0)
    assert other.samples.fingerprint != pairs.samples.fingerprint
    with pytest.raises(DataError, match="more than 3"):
        make_pairs(TRAIN, TRAIN, "random_neutral", num_neutrals=3)


def test_mean_neutral_is_the_mean_of_train() -> None:
    pairs = make_pairs(HELD_OUT, TRAIN, "mean_neutral")
    assert (pairs.samples.images[:][:, 0] == round((0 + 1 + 3) / 3)).all()
    assert pairs.samples.images[:][:, 1, 0, 0, 0].tolist() == [100, 101, 102, 103]
    assert set(pairs.samples.facts["neutral_source"]) == {"mean of train"}


def test_pairs_feed_the_pipeline() -> None:
    pairs = make_pairs(HELD_OUT, TRAIN, "random_neutral")
    batches = list(evaluation_dataset(pairs.samples, 3))
    assert [tuple(images.shape) for images, _ in batches] == [(3, 2, 4, 4, 1), (1, 2, 4, 4, 1)]
    assert batches[1][0].numpy()[0, 1].max() == 103
    assert pairs.samples.take([1]).images.shape == (1, 2, 4, 4, 1)


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_neutrals"):
        make_pairs(HELD_OUT, TRAIN, "mean_neutral", num_neutrals=2)
    with pytest.raises(ConfigError, match="'nearest'"):
        make_pairs(HELD_OUT, TRAIN, "nearest")  # type: ignore[arg-type]
    unknown = _samples(["", ""], [0, 1], "test")
    with pytest.raises(DataError, match="unknown for 2 of 2"):
        make_pairs(unknown, TRAIN, "same_subject")


def test_auto_is_the_person_where_known_and_random_elsewhere() -> None:
    config = DatasetConfig("made", neutral="auto")
    paired = with_neutral(HELD_OUT, TRAIN, config)
    # Person e has no neutral face.
    assert paired.facts["neutral_policy"].tolist() == ["same_subject"] * 3 + ["random_neutral"]
    assert paired.images.shape == (4, 2, 4, 4, 1)
    assert "same_subject (3)" in paired.notes[-1]
    unknown = replace(HELD_OUT, facts={**HELD_OUT.facts, "subject": np.array([""] * 4)})
    paired = with_neutral(unknown, TRAIN, config)
    assert set(paired.facts["neutral_policy"].tolist()) == {"random_neutral"}
    assert with_neutral(TRAIN, TRAIN, DatasetConfig("made")) is TRAIN
    # A limited training split finds its people's neutral faces among those that were left out.
    limited = with_neutral(TRAIN.take([2]), TRAIN, replace(config, neutral="same_subject"))
    assert limited.facts["neutral_source"][0] in ("train0", "train1")
    with pytest.raises(DataError, match="same_session"):
        with_neutral(HELD_OUT, TRAIN, replace(config, neutral="same_session"))


def test_a_built_in_face_has_a_neutral_one_of_its_session() -> None:
    samples = draw_samples("validation", 8)
    paired = with_neutral(samples, samples, DatasetConfig(neutral="same_session"))
    pairs = paired.images[:].astype(int)
    np.testing.assert_array_equal(pairs[:, 1], samples.images)
    changed = np.abs(pairs[:, 0] - pairs[:, 1]).mean(axis=(1, 2, 3))
    other = np.abs(pairs[:, 1] - np.roll(pairs[:, 1], 1, axis=0)).mean(axis=(1, 2, 3))
    # The same person in the same pose and light: nearer than one in another.
    assert (changed < 0.5 * other).all()
    assert set(paired.facts["neutral_policy"].tolist()) == {"same_session"}
    again = with_neutral(samples, samples, DatasetConfig(neutral="same_session"))
    np.testing.assert_array_equal(again.images[:], paired.images[:])
