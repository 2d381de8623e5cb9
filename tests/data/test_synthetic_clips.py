"""The drawn sequences: courses of the same frames, motion in the expression alone, splits."""

from pathlib import Path

import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.config import DatasetConfig
from fer_keras.data.clips import with_clips
from fer_keras.data.datasets import synthetic_clips
from fer_keras.data.load import load_samples


@pytest.mark.parametrize("num_frames", range(synthetic_clips.MIN_FRAMES, 13))
def test_courses_hold_every_frame_once(num_frames: int) -> None:
    orders = {name: list(course(num_frames)) for name, course in synthetic_clips.COURSES.items()}
    for order in orders.values():
        assert sorted(order) == list(range(num_frames))
    assert len({tuple(order) for order in orders.values()}) == 4
    assert orders["offset"] == orders["onset"][::-1]
    assert orders["slow_onset"] == orders["fast_onset"][::-1]
    # Up in three steps, then down without a stop.
    assert orders["fast_onset"].index(num_frames - 1) == 3
    assert orders["fast_onset"][3:] == sorted(orders["fast_onset"][3:], reverse=True)


def test_a_sequence_grows_from_neutral_to_its_apex() -> None:
    emotion, frames, intensities = synthetic_clips.draw_sequence(2)
    again = synthetic_clips.draw_sequence(2)
    assert (emotion, frames.tolist()) == (again[0], again[1].tolist())
    assert emotion == "sadness"
    assert frames.shape[1:] == (48, 48, 1)
    assert synthetic_clips.MIN_FRAMES <= len(frames) <= synthetic_clips.MAX_FRAMES
    assert (intensities[0], intensities[-1]) == (0, 1)
    assert (np.diff(intensities) > 0).all()
    assert (frames.reshape(len(frames), -1).max(axis=1) > 0).all()
    with pytest.raises(DataError, match="subject"):
        synthetic_clips.draw_sequence(-1)


def test_splits_share_no_person() -> None:
    ranges = [set(people) for people in synthetic_clips.SPLIT_SUBJECTS.values()]
    assert sum(map(len, ranges)) == len(set.union(*ranges)) == 600


def test_it_is_prepared_and_made_into_clips(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    few = {"train": range(3), "validation": range(3, 5), "test": range(5, 6)}
    monkeypatch.setattr(synthetic_clips, "SPLIT_SUBJECTS", few)
    frames = load_samples("synthetic_clips", "train", cache_dir=tmp_path)
    assert len(np.unique(frames.facts["sequence"])) == 3
    assert [*frames.class_names] == [*synthetic_clips.CLASS_NAMES]
    clips = with_clips(frames, DatasetConfig(name="synthetic_clips", clip_frames=12))
    assert (len(clips), clips.images.shape[1:]) == (12, (12, 48, 48, 1))
    assert clips.class_counts() == dict.fromkeys(synthetic_clips.COURSES, 3)
    shown = clips.images[:4]
    # The four clips of a sequence differ in the order of their frames alone.
    ordered = [sorted(frame.tobytes() for frame in clip) for clip in shown]
    assert ordered[0] == ordered[1] == ordered[2] == ordered[3]
