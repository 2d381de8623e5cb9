from collections.abc import Callable

import cv2
import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.data.audit.near_duplicates import (
    near_duplicate_audit,
    pairs_within,
)
from fer_keras.data.datasets.synthetic_faces import generate
from fer_keras.data.samples import Samples, one_hot, pixel_sha256

_FACES = np.stack([face.image for face in generate(16, subjects=range(16))])
_RNG = np.random.default_rng(0)


def _samples(images: np.ndarray, split: str = "train", labels: list[int] | None = None) -> Samples:
    return Samples(
        name="made",
        split=split,
        class_names=("anger", "fear"),
        label_rule="hard",
        images=images,
        targets=one_hot(np.array(labels or [0] * len(images), np.int64), 2),
        facts={
            "source": np.array([f"{split}{row}" for row in range(len(images))]),
            "sha256": np.array([pixel_sha256(image) for image in images]),
            "subject": np.array([""] * len(images)),
        },
    )


def _jpeg(image: np.ndarray) -> np.ndarray:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)[..., np.newaxis]


def _move(image: np.ndarray, right: int, down: int) -> np.ndarray:
    moved = cv2.warpAffine(
        image,
        np.array([[1, 0, right], [0, 1, down]], np.float32),
        (48, 48),
        borderMode=cv2.BORDER_REPLICATE,
    )
    return moved[..., np.newaxis]


def _noise(image: np.ndarray) -> np.ndarray:
    return np.clip(image + _RNG.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "mirrored"),
    [
        (lambda image: np.clip(image.astype(int) + 30, 0, 255).astype(np.uint8), False),
        (lambda image: (image * 0.6 + 30).astype(np.uint8), False),
        (_jpeg, False),
        (_noise, False),
        (lambda image: image[:, ::-1], True),
        (lambda image: _noise(image[:, ::-1]), True),
        (lambda image: _move(image, 1, 0), False),
        (lambda image: _move(image, -2, 1), False),
        (lambda image: _move(image, 1, -2), False),
        (lambda image: _move(image[:, ::-1], 1, 1), True),
        (lambda image: _move(image[:, ::-1], -1, -1), True),
    ],
)
def test_changed_copies_are_found(
    change: Callable[[np.ndarray], np.ndarray], mirrored: bool
) -> None:
    copy = change(_FACES[5])
    assert not np.array_equal(copy, _FACES[5])
    report = near_duplicate_audit(
        {"train": _samples(_FACES), "test": _samples(copy[np.newaxis], "test", [1])}
    )
    assert len(report.pairs) == report.num_pairs == 1
    pair = report.pairs[0]
    assert (pair.split, pair.index, pair.source, pair.label) == ("train", 5, "train5", "anger")
    assert (pair.other_split, pair.other_index, pair.other_label) == ("test", 0, "fear")
    assert pair.mirrored is mirrored
    assert pair.distance <= 10
    assert 0.7 <= pair.correlation <= 1.001
    assert (report.num_mirrored, report.num_conflicts) == (int(mirrored), 1)


def test_different_faces_are_not_near() -> None:
    assert near_duplicate_audit({"train": _samples(_FACES)}).pairs == ()


def test_colour_and_size_do_not_matter() -> None:
    large = np.stack([cv2.resize(face, (90, 100)) for face in _FACES])
    coloured = np.repeat(large[..., np.newaxis], 3, axis=3)
    report = near_duplicate_audit(
        {"train": _samples(_FACES), "test": _samples(coloured[3:5], "test")}
    )
    assert {(pair.index, pair.other_index) for pair in report.pairs} == {(3, 0), (4, 1)}


def test_flat_pictures_match_nothing() -> None:
    ramp = np.linspace(0, 250, 48).astype(np.uint8)
    flat = [
        np.zeros((48, 48)),
        np.full((48, 48), 200),
        np.tile(ramp, (48, 1)),
        np.tile(ramp + 1, (48, 1)),
        *(_RNG.normal(120, 3, (48, 48)) for _ in range(4)),
    ]
    images = np.stack([*flat, flat[0]])[..., np.newaxis].astype(np.uint8)
    report = near_duplicate_audit({"train": _samples(images)})
    assert report.num_pairs == 0
    assert report.num_flat == len(images)


def test_counts_within_and_across_splits_without_exact_copies() -> None:
    brighter = np.clip(_FACES.astype(int) + 20, 0, 255).astype(np.uint8)
    # Twice face 0, and its brighter copy; face 1.
    train = _samples(np.stack([_FACES[0], _FACES[0], brighter[0], _FACES[1]]))
    # An exact copy of face 0, three equal mirrored copies of face 1, another face.
    mirrored = _FACES[1][:, ::-1]
    test = _samples(np.stack([_FACES[0], mirrored, mirrored, mirrored, _FACES[2]]), "test")
    report = near_duplicate_audit({"train": train, "test": test})
    assert report.within == {"train": 3, "test": 0}
    # Face 0 of test is near the brighter copy, but has an exact copy in train too, and the two of
    # train have one in test: what is left is the brighter one, face 1, and its mirrored copies.
    assert report.across == {("train", "test"): 2, ("test", "train"): 3}
    assert report.num_pairs == 3
    assert [pair.other_split for pair in report.pairs] == ["test", "test", "train"]
    assert all(pair.source != "train1" for pair in report.pairs)


def test_search_equals_brute_force() -> None:
    hashes = _RNG.integers(0, 1 << 64, 500, dtype=np.uint64)
    # Random hashes are 32 bits apart: to each, one is added with up to 15 bits flipped.
    flipped = hashes.copy()
    for row, count in enumerate(_RNG.integers(0, 16, 500)):
        for bit in _RNG.choice(64, count, replace=False):
            flipped[row] ^= np.uint64(1) << np.uint64(bit)
    distance = np.bitwise_count(hashes[:, None] ^ flipped)
    for limit in (0, 3, 10, 15):
        found = {
            (int(row), int(column))
            for rows, columns in pairs_within(hashes, flipped, limit)
            for row, column in zip(rows, columns, strict=True)
        }
        assert found == set(
            zip(*map(np.ndarray.tolist, np.nonzero(distance <= limit)), strict=True)
        )
        assert limit == 0 or len(found) > limit * 10
    with pytest.raises(DataError, match=r"0\.\.15 bits\. Received: 16"):
        next(pairs_within(hashes, flipped, 16))


def test_no_images() -> None:
    empty = near_duplicate_audit({"train": _samples(_FACES[:0])})
    assert (empty.num_pairs, empty.within) == (0, {"train": 0})
    assert near_duplicate_audit({}).num_pairs == 0
