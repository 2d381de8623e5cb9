from dataclasses import replace

import numpy as np
import pytest

from fer_keras.data.clips import make_clips
from fer_keras.data.samples import Samples, one_hot
from fer_keras.errors import ConfigError, DataError

# Sequence a has five frames, b two; the rows are mixed.
_SEQUENCES = ["a", "b", "a", "a", "b", "a", "a"]
_FRAMES = [3, 1, 1, 2, 0, 9, 4]


def _frames() -> Samples:
    count = len(_FRAMES)
    return Samples(
        name="made",
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
    shown = clips.samples.images[:][..., 0, 0, 0].tolist()
    assert shown == [*expected, [0, 1, 1]]
    assert clips.mask.tolist() == [[True] * 3] * len(expected) + [[True, True, False]]
    assert clips.samples.labels.tolist() == [0] * len(expected) + [1]
    assert clips.samples.facts["subject"].tolist()[-1] == "who-b"
    assert clips.samples.facts["source"].tolist()[-1] == "b0..b1"


def test_windows_follow_the_stride() -> None:
    clips = make_clips(_frames(), 3, sampling="windows", stride=2)
    assert clips.samples.images[:][..., 0, 0, 0].tolist() == [[1, 2, 3], [3, 4, 9], [0, 1, 1]]


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
    with pytest.raises(ConfigError, match="num_frames=1"):
        make_clips(frames, 1)
