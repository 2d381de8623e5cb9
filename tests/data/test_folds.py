import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.config import DatasetConfig
from fer_keras.data import folds, splits
from fer_keras.data.label_noise import with_label_noise
from fer_keras.data.load import load_samples
from fer_keras.data.samples import Samples, one_hot
from fer_keras.data.splits import load_splits, load_test, oversample


def _samples(num_subjects: int = 24, num_classes: int = 3, seed: int = 0) -> Samples:
    """Subjects with 4 to 12 pictures of several classes, the first two sharing a picture."""
    rng = np.random.default_rng(seed)
    subjects = np.repeat(np.arange(num_subjects), rng.integers(4, 13, num_subjects))
    count = len(subjects)
    hashes = np.array([f"h{row}" for row in range(count)])
    hashes[np.flatnonzero(subjects == 1)[0]] = hashes[0]
    return Samples(
        name="made",
        split="train",
        class_names=("anger", "fear", "neutral")[:num_classes],
        label_rule="hard",
        images=rng.integers(0, 256, (count, 4, 4, 1), dtype=np.uint8),
        targets=one_hot(rng.integers(0, num_classes, count), num_classes),
        facts={
            "source": np.array([f"p{row}" for row in range(count)]),
            "sha256": hashes,
            "subject": np.array([f"s{subject}" for subject in subjects]),
        },
    )


def _split(samples: Samples, config: DatasetConfig) -> dict[str, Samples]:
    parts = folds.divide(samples, config)
    return {
        split: folds.part_of(samples, parts, split, "note")
        for split in ("train", "validation", "test")
    }


@pytest.mark.parametrize("rule", ["subjects", "folds", "leave_one_subject_out"])
def test_no_person_and_no_picture_is_on_two_sides(rule: Any) -> None:
    samples = _samples()
    splits = _split(samples, DatasetConfig(split=rule, fold=2))
    folds.check_disjoint(splits)
    assert sum(len(split) for split in splits.values()) == len(samples)
    assert all(len(split) for split in splits.values())


def test_subjects_are_divided_70_20_10_with_classes_in_proportion() -> None:
    samples = _samples(num_subjects=200)
    splits = _split(samples, DatasetConfig(split="subjects"))
    shares = {name: len(split) / len(samples) for name, split in splits.items()}
    assert shares == pytest.approx({"train": 0.7, "validation": 0.2, "test": 0.1}, abs=0.02)
    whole = samples.targets.mean(axis=0)
    for split in splits.values():
        assert split.targets.mean(axis=0) == pytest.approx(whole, abs=0.05)


def test_every_picture_is_tested_once_over_the_folds() -> None:
    samples = _samples()
    tested: list[str] = []
    for fold in range(5):
        splits = _split(samples, DatasetConfig(split="folds", folds=5, fold=fold))
        tested += splits["test"].facts["source"].tolist()
        validation = splits["validation"].facts["source"].tolist()
        following = _split(samples, DatasetConfig(split="folds", folds=5, fold=(fold + 1) % 5))
        assert validation == following["test"].facts["source"].tolist()
    assert sorted(tested) == sorted(samples.facts["source"].tolist())


def test_leave_one_subject_out_tests_one_person() -> None:
    samples = _samples()
    # Subjects 0 and 1 share a picture, so they are left out together.
    splits = _split(samples, DatasetConfig(split="leave_one_subject_out", fold=0))
    assert set(splits["test"].facts["subject"]) == {"s0", "s1"}
    splits = _split(samples, DatasetConfig(split="leave_one_subject_out", fold=1))
    assert len(set(splits["test"].facts["subject"])) == 1


def test_division_is_refused_without_subjects_or_with_too_few() -> None:
    samples = _samples(num_subjects=4)
    with pytest.raises(DataError, match="at least 10 subjects"):
        folds.divide(samples, DatasetConfig(split="folds"))
    with pytest.raises(ConfigError, match=r"0 to 2\. Received: 7"):
        folds.divide(samples, DatasetConfig(split="folds", folds=3, fold=7))
    nobody = samples.take(np.arange(len(samples)))
    nobody.facts["subject"][3] = ""  # type: ignore[index]
    with pytest.raises(DataError, match="unknown for 1 of"):
        folds.divide(nobody, DatasetConfig(split="subjects"))


def test_shared_subjects_and_pixels_are_named() -> None:
    samples = _samples()
    half = samples.take(np.arange(20)), samples.take(np.arange(19, 40))
    with pytest.raises(DataError, match="train and test share 1 subject"):
        folds.check_disjoint({"train": half[0], "test": half[1]})


def test_an_experiment_never_gets_parts_that_share_a_person(
    monkeypatch: pytest.MonkeyPatch, few_faces: None
) -> None:
    # A division that is wrong on purpose: every part is the whole data set.
    monkeypatch.setattr(splits, "part_of", lambda samples, *_: samples)
    with pytest.raises(DataError, match="train and validation share"):
        load_splits(DatasetConfig(name="synthetic_faces", split="folds"), seed=0)


def test_experiments_can_train_on_folds_of_the_built_in_faces(few_faces: None) -> None:
    config = DatasetConfig(name="synthetic_faces", split="folds", folds=5, fold=1)
    train, validation, whole = load_splits(config, seed=3)
    test = load_test(config)
    folds.check_disjoint({"train": train, "validation": validation, "test": test})
    assert whole is train
    total = sum(
        len(load_samples("synthetic_faces", split)) for split in ("train", "validation", "test")
    )
    assert len(train) + len(validation) + len(test) == total
    assert (test.split, validation.split) == ("test", "validation")
    assert "fold 1 of 5" in test.notes[-1]
    other = dataclasses.replace(config, label_rule="crossentropy")
    distributions, by_majority, _ = load_splits(other, seed=3)
    assert distributions.label_rule == "crossentropy"
    # Validation keeps its own rule and the same people.
    assert by_majority.label_rule == "majority"
    assert set(by_majority.facts["subject"]) == set(validation.facts["subject"])


def test_label_noise_changes_an_exact_share_to_other_classes() -> None:
    samples = _samples(num_subjects=100)
    noisy = with_label_noise(samples, 0.3, seed=1)
    changed = noisy.labels != samples.labels
    assert changed.sum() == round(0.3 * len(samples))
    assert (noisy.facts["clean_label"] == samples.labels).all()
    # Symmetric: every other class gets its part.
    moves = np.bincount((noisy.labels - samples.labels)[changed] % 3, minlength=3)
    assert moves[0] == 0
    assert moves[1] == pytest.approx(moves[2], rel=0.3)
    assert with_label_noise(samples, 0.3, seed=1).fingerprint == noisy.fingerprint
    assert with_label_noise(samples, 0.3, seed=2).fingerprint != noisy.fingerprint


def test_label_noise_is_refused_for_distributions() -> None:
    samples = _samples()
    soft = dataclasses.replace(samples, targets=np.full_like(samples.targets, 1 / 3))
    with pytest.raises(DataError, match="one class for each picture"):
        with_label_noise(soft, 0.1, seed=0)
    with pytest.raises(ConfigError, match="label_noise < 1"):
        with_label_noise(samples, 1.0, seed=0)


def test_rare_classes_are_repeated_evenly_after_the_split() -> None:
    samples = _samples().take([0, 1, 2, 3, 4, 5, 6])
    targets = one_hot(np.array([0, 0, 0, 0, 1, 1, 0]), 3)
    more = oversample(dataclasses.replace(samples, targets=targets), 7)
    assert more.class_counts() == {"anger": 7, "fear": 7, "neutral": 0}
    repeated = more.facts["source"][more.labels == 1].tolist()
    assert sorted(repeated.count(name) for name in set(repeated)) == [3, 4]
    assert oversample(samples, 0) is samples


def test_people_are_dealt_in_the_order_of_their_names() -> None:
    samples = _samples()
    names = sorted(set(samples.facts["subject"].tolist()))
    found = folds.dealt_folds(samples, 5)
    fold_of = dict(zip(samples.facts["subject"].tolist(), found.tolist(), strict=True))
    # s0 and s1 share a picture and count as one: the rest moves up by a place.
    assert names[:2] == ["s0", "s1"]
    assert [fold_of[name] for name in names] == [0, *(i % 5 for i in range(len(names) - 1))]
    dealt = _split(samples, DatasetConfig(split="folds", folds=5, folds_by="order", fold=3))
    folds.check_disjoint(dealt)
    assert set(dealt["test"].facts["subject"].tolist()) == {n for n in names if fold_of[n] == 3}
    with pytest.raises(DataError, match="expected at least 500 subjects for 500 folds"):
        folds.dealt_folds(samples, 500)


def test_a_sample_is_drawn_before_people_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _samples()
    content = SimpleNamespace(counts={"train": len(whole)})
    monkeypatch.setattr(splits, "prepare", lambda *_: None)
    monkeypatch.setattr(splits, "read_content", lambda _: content)
    monkeypatch.setattr(splits, "_load", lambda *_: whole)
    config = DatasetConfig(split="folds", folds=5, sample=len(whole) // 2)
    train, validation, _ = splits.load_splits(config, 0)
    assert len(train) + len(validation) + len(splits.load_test(config)) == len(whole) // 2
    with pytest.raises(DataError, match=r"dataset\.sample: .* Mend: dataset\.limit"):
        splits.load_splits(DatasetConfig(sample=5), 0)
