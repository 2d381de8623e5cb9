import csv
from pathlib import Path

import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.data.votes import RULES, VOTE_COLUMNS, entropy, targets_from_votes


def _one(votes: list[int], rule: str) -> list[float] | None:
    """Target of a single row, None where it is dropped."""
    targets, kept = targets_from_votes(np.array([votes]), rule)
    return None if len(kept) == 0 else [round(float(value), 4) for value in targets[0]]


# Columns: neutral happiness surprise sadness anger disgust fear contempt unknown NF.
# Expected values worked out by hand from the published reader.
@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([6, 0, 0, 4, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]),
        # Half is not more than half.
        ([5, 0, 0, 5, 0, 0, 0, 0, 0, 0], None),
        # Single votes are outliers: 4 of the remaining 6 is a majority.
        ([4, 1, 1, 2, 1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]),
        ([0, 0, 0, 0, 0, 0, 0, 0, 6, 4], None),
        ([2, 0, 0, 0, 0, 0, 0, 0, 0, 8], None),
        # Nothing but outliers.
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], None),
    ],
)
def test_majority(votes: list[int], expected: list[float] | None) -> None:
    assert _one(votes, "majority") == expected


@pytest.mark.parametrize("rule", ["crossentropy", "probability"])
@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        # 8 of 10 reach 75 %: the two sad votes are not taken.
        ([8, 0, 0, 2, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]),
        ([6, 0, 0, 4, 0, 0, 0, 0, 0, 0], [0.6, 0, 0, 0.4, 0, 0, 0, 0]),
        # 4 + 3 is less than 75 %, so the third is taken too.
        ([4, 0, 0, 3, 0, 0, 3, 0, 0, 0], [0.4, 0, 0, 0.3, 0, 0, 0.3, 0]),
        # Unknown after emotions is taken back and ends the search; 6 of 10 is enough.
        ([6, 0, 0, 0, 0, 0, 0, 0, 4, 0], [1, 0, 0, 0, 0, 0, 0, 0]),
        # It ties with the emotion: 5 of 10 is not more than half.
        ([5, 0, 0, 0, 0, 0, 0, 0, 5, 0], None),
        # Unknown first.
        ([3, 0, 0, 0, 0, 0, 0, 0, 7, 0], None),
        # Five classes tie: more than three.
        ([2, 2, 2, 2, 2, 0, 0, 0, 0, 0], None),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], None),
    ],
)
def test_largest_classes(votes: list[int], expected: list[float] | None, rule: str) -> None:
    assert _one(votes, rule) == expected


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        # Exactly 30 % is kept, 20 % is not.
        ([5, 3, 0, 2, 0, 0, 0, 0, 0, 0], [0.625, 0.375, 0, 0, 0, 0, 0, 0]),
        # Only 3 of 9 are kept: half or less.
        ([3, 2, 2, 2, 1, 0, 0, 0, 0, 0], None),
        # "Unknown" counts for the bound and is cut off afterwards.
        ([6, 0, 0, 0, 0, 0, 0, 0, 4, 0], [1, 0, 0, 0, 0, 0, 0, 0]),
        ([4, 0, 0, 0, 0, 0, 0, 0, 6, 0], None),
    ],
)
def test_multi_target(votes: list[int], expected: list[float] | None) -> None:
    assert _one(votes, "multi_target") == expected


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([4, 1, 1, 2, 1, 1, 0, 0, 0, 0], [0.4, 0.1, 0.1, 0.2, 0.1, 0.1, 0, 0]),
        # What is no emotion is left out of the shares.
        ([4, 0, 0, 0, 0, 1, 0, 0, 3, 2], [0.8, 0, 0, 0, 0, 0.2, 0, 0]),
        ([3, 0, 0, 2, 0, 0, 0, 0, 5, 0], None),
    ],
)
def test_distribution(votes: list[int], expected: list[float] | None) -> None:
    assert _one(votes, "distribution") == expected


@pytest.mark.parametrize("rule", RULES)
def test_targets_are_distributions_and_the_votes_stay_untouched(rule: str) -> None:
    votes = np.random.default_rng(0).multinomial(10, np.full(10, 0.1) + 0.0, size=500)
    votes[:, 0] += 4
    votes[::50, 8] += 20
    before = votes.copy()
    targets, kept = targets_from_votes(votes, rule)
    assert targets.dtype == np.float32
    assert targets.shape == (len(kept), 8)
    assert 0 < len(kept) < 500
    assert (np.diff(kept) > 0).all()
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(votes, before)


def test_wrong_votes_and_rules_are_refused() -> None:
    with pytest.raises(DataError, match=r"Unknown label rule 'majorty'\. Nearest: majority"):
        targets_from_votes(np.zeros((1, 10)), "majorty")
    with pytest.raises(DataError, match=r"Expected votes \(n, 10\).*shape \(3, 8\)"):
        targets_from_votes(np.zeros((3, 8)), "majority")
    with pytest.raises(DataError, match="in row 1"):
        targets_from_votes(np.array([[1] * 10, [-1] * 10]), "majority")


def test_entropy() -> None:
    votes = np.array([[10] + [0] * 9, [5, 5] + [0] * 8, [1] * 10, [0] * 10])
    np.testing.assert_allclose(entropy(votes)[:3], [0, np.log(2), np.log(10)])
    assert np.isnan(entropy(votes)[3])


@pytest.fixture(scope="module")
def published(real_data: Path) -> dict[str, np.ndarray]:
    """The votes of each `Usage` of the published file."""
    votes: dict[str, list[list[int]]] = {}
    with (real_data / "fer2013" / "fer2013new.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            votes.setdefault(row["Usage"], []).append([int(row[name]) for name in VOTE_COLUMNS])
    return {usage: np.array(rows) for usage, rows in votes.items()}


# Counted over the published csv of microsoft/FERPlus.
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("rule", "usage", "expected"),
    [
        ("majority", "Training", (8740, 7287, 3149, 3014, 2100, 119, 532, 119)),
        ("majority", "PublicTest", (1182, 865, 415, 351, 287, 24, 62, 13)),
        ("crossentropy", "Training", (10122, 7503, 3524, 3430, 2407, 169, 641, 160)),
        ("crossentropy", "PublicTest", 3505),
        ("probability", "PublicTest", 3505),
        ("distribution", "Training", 28389),
        ("distribution", "PublicTest", 3553),
        ("multi_target", "Training", 27671),
        ("multi_target", "PublicTest", 3472),
    ],
)
def test_counts_of_the_published_votes(
    published: dict[str, np.ndarray], rule: str, usage: str, expected: int | tuple[int, ...]
) -> None:
    targets, kept = targets_from_votes(published[usage], rule)
    if isinstance(expected, int):
        assert len(kept) == expected
    else:
        assert tuple(np.bincount(np.argmax(targets, axis=1), minlength=8)) == expected
