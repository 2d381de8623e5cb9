from dataclasses import replace

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.config import DatasetConfig
from fer_keras.data.clips import make_clips, real_frames, with_clips
from fer_keras.data.samples import Samples, one_hot

# Sequence a has five frames, b two; the rows are mixed.
_SEQUENCES = ["a", "b", "a", "a", "b", "a", "a"]
_FRAMES = [3, 1, 1, 2, 5, 9, 4]


def _frames() -> Samples:
    count = len(_FRAMES)
    return Samples(
        name="synthetic_clips",
        split="train",
        class_names=("anger", "fear"),
        label_rule="hard",
        images=np.broadcast_to(np.array(_FRAMES)[:, None, None, None], (count, 4, 4, 1)).astype(
            np.uint8
        ),
        targets=one_hot(np.array([int(name == "b") for name in _SEQUENCES]), 2),
        facts={
            "source": np.array([f"{s}{f}" for s, f in zip(_SEQUENCES, _FRAMES, strict=True)]),
            "sha256": np.array([f"h{row}" for row in range(count)]),
            "subject": np.array([f"who-{name}" for name in _SEQUENCES]),
            "sequence": np.array(_SEQUENCES),
            "frame": np.array(_FRAMES),
        },
    )


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ("uniform", [[1, 3, 9]]),
        ("last", [[3, 4, 9]]),
        ("windows", [[1, 2, 3], [2, 3, 4], [3, 4, 9]]),
    ],
)
def test_frames_of_a_sequence_come_in_order(sampling: str, expected: list[list[int]]) -> None:
    clips = make_clips(_frames(), 3, sampling=sampling)  # type: ignore[arg-type]
    shown = clips.images[:][..., 0, 0, 0].tolist()
    assert shown == [*expected, [1, 5, 0]]
    assert real_frames(clips.images[:]).tolist() == [[True] * 3] * len(expected) + [
        [True, True, False]
    ]
    assert clips.labels.tolist() == [0] * len(expected) + [1]
    assert clips.facts["subject"].tolist()[-1] == "who-b"
    assert clips.facts["source"].tolist()[-1] == "b1..b5"


def test_windows_follow_the_stride() -> None:
    clips = make_clips(_frames(), 3, sampling="windows", stride=2)
    assert clips.images[:][..., 0, 0, 0].tolist() == [[1, 2, 3], [3, 4, 9], [1, 5, 0]]


def test_courses_are_the_classes_and_share_their_frames() -> None:
    frames = _frames()
    courses = {"up": range, "down": lambda count: list(range(count))[::-1]}
    clips = make_clips(frames, 5, courses=courses)
    shown = clips.images[:][..., 0, 0, 0].tolist()
    assert shown == [[1, 2, 3, 4, 9], [9, 4, 3, 2, 1], [1, 5, 0, 0, 0], [5, 1, 0, 0, 0]]
    assert clips.class_names == ("up", "down")
    assert clips.labels.tolist() == [0, 1, 0, 1]
    assert clips.facts["emotion"].tolist() == ["anger", "anger", "fear", "fear"]
    # The same frames in another order are another clip, for the audit of duplicates too.
    assert len(set(clips.facts["sha256"].tolist())) == 4
    # Every frame is stored once: a clip holds row numbers.
    assert clips.images.sources[0] is frames.images
    assert clips.images.rows.shape == (4, 5)
    assert clips.take([2, 0]).labels.tolist() == [0, 0]


def test_a_sequence_is_one_person_and_one_label() -> None:
    frames = _frames()
    mixed = replace(frames, targets=one_hot(np.array([1, 1, 0, 0, 1, 0, 0]), 2))
    with pytest.raises(DataError, match=r"sequence a.*anger.*fear"):
        make_clips(mixed, 3)
    twice = replace(frames, facts={**frames.facts, "frame": np.zeros(7, int)})
    with pytest.raises(DataError, match="frame number twice"):
        make_clips(twice, 3)
    without = {name: values for name, values in frames.facts.items() if name != "sequence"}
    with pytest.raises(DataError, match="'sequence'"):
        make_clips(replace(frames, facts=without), 3)
    with pytest.raises(ConfigError, match="num_frames=2"):
        make_clips(frames, 2)


def test_an_experiment_asks_for_clips() -> None:
    frames = _frames()
    assert with_clips(frames, DatasetConfig(name="synthetic_clips")) is frames
    clips = with_clips(frames, DatasetConfig(name="synthetic_clips", clip_frames=4))
    assert clips.class_names == ("onset", "offset", "fast_onset", "slow_onset")
    assert "8 clips of 4 frames (7 stored)" in clips.notes[-1]
    config = DatasetConfig(name="ckplus_sequences", clip_frames=4, clip_sampling="windows")
    assert len(with_clips(replace(frames, name="ckplus_sequences"), config)) == 3
    with pytest.raises(ConfigError, match="exclude each other"):
        with_clips(frames, DatasetConfig(clip_frames=4, neutral="auto"))


def test_all_frames_of_a_clip_are_augmented_alike() -> None:
    from fer_keras.data.augmentation.policies import build_policy

    rng = np.random.default_rng(0)
    frame = rng.integers(1, 256, (3, 1, 24, 24, 1))
    clips = np.repeat(frame, 5, axis=1).astype(np.float32)
    clips[:, 3:] = 0
    targets = one_hot(np.arange(3), 3)
    policy = build_policy("standard", clips.shape[1:])
    assert policy is not None
    changed, same = policy(clips, targets, np.array([1, 2], np.int32))
    found = np.asarray(changed)
    np.testing.assert_array_equal(same, targets)
    assert np.abs(found[:, 0] - clips[:, 0]).max() > 1
    np.testing.assert_array_equal(found[:, 1], found[:, 0])
    np.testing.assert_array_equal(found[:, 2], found[:, 0])
    assert (found[:, 3:] == 0).all()
    with pytest.raises(ConfigError, match="pairs and clips"):
        build_policy("mix_up", clips.shape[1:])
    assert build_policy("none", clips.shape[1:]) is None
