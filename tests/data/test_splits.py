import dataclasses
from collections import Counter

import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.data.audit.duplicates import duplicate_audit
from fer_keras.data.groups import connected_groups, cut_mask
from fer_keras.data.samples import Samples, one_hot
from fer_keras.data.splits import (
    balanced_draw,
    cut_validation,
    drop_duplicates_of,
    duplicated_in,
    quadrant_draw,
)


def _samples(
    hashes: list[str],
    labels: list[int] | None = None,
    subjects: list[str] | None = None,
    split: str = "train",
) -> Samples:
    count = len(hashes)
    return Samples(
        name="made",
        split=split,
        class_names=("anger", "fear"),
        label_rule="hard",
        images=np.zeros((count, 4, 4, 1), np.uint8),
        targets=one_hot(np.array(labels or [0] * count), 2),
        facts={
            "source": np.array([f"{split}{row}" for row in range(count)]),
            "sha256": np.array(hashes),
            "subject": np.array(subjects or [""] * count),
        },
    )


def test_duplicates_within_and_across_splits() -> None:
    train = _samples(["a", "a", "b", "c"], [0, 1, 0, 0])
    held_out = _samples(["b", "b", "d"], [0, 1, 0], split="test")
    report = duplicate_audit({"train": train, "test": held_out})
    assert report.within == {"train": 2, "test": 2}
    assert report.across == {("train", "test"): 1, ("test", "train"): 2}
    assert report.num_conflicts == 2
    assert report.num_conflicting_images == 5
    assert report.conflicts[0] == (("train", "train0", "anger"), ("train", "train1", "fear"))
    assert duplicated_in(held_out, train).tolist() == [True, True, False]
    assert drop_duplicates_of(train, held_out).facts["sha256"].tolist() == ["a", "a", "c"]
    assert drop_duplicates_of(train, _samples(["z"])) is train


def test_groups_follow_chains_of_subjects_and_pixels() -> None:
    hashes = np.array(["1", "1", "2", "3", "3", "4", "5"])
    subjects = np.array(["anna", "", "anna", "ben", "carl", "", ""])
    groups = connected_groups(hashes, subjects)
    # Rows 0, 1, 2 through pixels and anna; 3 and 4 through pixels; nobody joins 5 and 6.
    assert len(set(groups[:3])) == 1
    assert groups[3] == groups[4]
    assert len(set(groups.tolist())) == 4


def test_cut_validation_divides_no_subject_and_no_duplicate() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 600)
    subjects = [f"s{number}" for number in rng.integers(0, 40, 300)] + [""] * 300
    hashes = [f"h{number}" for number in rng.integers(0, 250, 600)]
    samples = _samples(hashes, labels.tolist(), subjects)
    rest, validation = cut_validation(samples, 0.2, seed=3)
    # Chains of subjects and pixels make one large group here, so the share is only near.
    assert len(rest) + len(validation) == 600
    assert validation.split == "validation"
    assert not duplicated_in(validation, rest).any()
    known = set(validation.facts["subject"]) & set(rest.facts["subject"])
    assert known <= {""}
    assert validation.fingerprint != rest.fingerprint


def test_cut_is_stratified_exact_and_seeded() -> None:
    labels = np.repeat([0, 1], [900, 100])
    mask = cut_mask(labels, np.arange(1000), 0.15, seed=0)
    assert np.bincount(labels[mask]).tolist() == [135, 15]
    np.testing.assert_array_equal(mask, cut_mask(labels, np.arange(1000), 0.15, seed=0))
    assert (mask != cut_mask(labels, np.arange(1000), 0.15, seed=1)).any()


def test_cut_with_subjects_comes_near_its_share() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 7, 1200)
    groups = rng.integers(0, 100, 1200)
    mask = cut_mask(labels, groups, 0.1, seed=5)
    share = np.bincount(labels[mask], minlength=7) / np.bincount(labels)
    assert np.abs(share - 0.1).max() < 0.05
    assert not set(groups[mask]) & set(groups[~mask])


def test_cuts_of_tiny_sets() -> None:
    assert cut_mask(np.array([0, 1]), np.array([0, 1]), 0.1, seed=0).sum() == 1
    with pytest.raises(DataError, match=r"at least two groups.*3 images in 1 groups"):
        cut_mask(np.zeros(3, int), np.zeros(3, int), 0.5, seed=0)
    with pytest.raises(DataError, match=r"Cannot cut"):
        cut_mask(np.zeros(0, int), np.zeros(0, int), 0.5, seed=0)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 0.6, float("nan")])
def test_fractions_out_of_range_are_refused(fraction: float) -> None:
    with pytest.raises(DataError, match=r"in \(0, 0\.5\]"):
        cut_mask(np.array([0, 1]), np.array([0, 1]), fraction, seed=0)


def test_a_balanced_draw_takes_no_more_of_a_class_and_another_seed_takes_others() -> None:
    samples = _samples([str(i) for i in range(50)], labels=[0] * 40 + [1] * 10)
    first, again, other = (balanced_draw(samples, 15, seed) for seed in ((0, 1), (0, 1), (0, 2)))
    assert first.class_counts() == {"anger": 15, "fear": 10}
    sources = [each.facts["source"].tolist() for each in (first, again, other)]
    assert sources[0] == sources[1] != sources[2]
    assert len(set(sources[0])) == 25
    assert set(sources[0][-10:]) == set(samples.facts["source"].tolist()[-10:])


def test_a_draw_by_quadrants_of_valence_and_arousal() -> None:
    samples = _samples([str(i) for i in range(60)], labels=[0] * 60)
    with pytest.raises(DataError, match="per_quadrant: expected a data set with valence"):
        quadrant_draw(samples, 10, (0, 0))
    valence = np.tile([0.5, 0.5, -0.5, 0.5, -2.0, 0.5], 10).astype(np.float32)
    arousal = np.tile([0.5, 0.1, 0.5, -0.5, -2.0, 0.0], 10).astype(np.float32)
    samples = dataclasses.replace(
        samples, facts={**samples.facts, "valence": valence, "arousal": arousal}
    )
    drawn = quadrant_draw(samples, 7, (0, 0))
    quadrants = Counter(
        (v >= 0, a >= 0)
        for v, a in zip(drawn.facts["valence"], drawn.facts["arousal"], strict=True)
    )
    # 30 pictures lie in the first, ten in two others, none in the last; ten have no rating.
    assert quadrants == {(True, True): 7, (False, True): 7, (True, False): 7}
    other = quadrant_draw(samples, 7, (0, 1))
    assert drawn.facts["source"].tolist() != other.facts["source"].tolist()
