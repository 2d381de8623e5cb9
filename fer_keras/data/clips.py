"""Clips of a fixed number of frames, for networks that read a face's course over time.

Padding is a frame whose pixels are all 0, not a second input: it passes through uint8 arrays,
tf.data, `model.fit`, `.keras` and TFLite as it is, and loaders of one input stay as they are.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.config import DatasetConfig
from fer_keras.data.gathered import GatheredImages, gathered_fingerprint
from fer_keras.data.registry import dataset_module
from fer_keras.data.samples import Samples, one_hot

# From the number of frames of a sequence to an order of its frames.
Course = Callable[[int], Sequence[int]]

_MIN_FRAMES = 3


def make_clips(
    frames: Samples,
    num_frames: int,
    *,
    sampling: Literal["uniform", "last", "windows"] = "uniform",
    stride: int = 1,
    courses: Mapping[str, Course] | None = None,
) -> Samples:
    """Cuts sequences of frames into clips of one length.

    Args:
        frames: Frames with the facts `sequence` (which sequence a frame belongs to) and `frame`
            (its number in it).
        num_frames: Frames of a clip, 3 or more.
        sampling: `uniform`: one clip a sequence, its frames spread from the first to the last;
            `last`: one clip a sequence, its last frames; `windows`: every window of `num_frames`.
        stride: From one window to the next, in frames.
        courses: Class -> an order of a sequence's frames. Every sequence is then shown in every
            order, and the orders are the classes; what the frames are labelled with becomes the
            fact `emotion`. None: in the order of the frame numbers, with the frames' label.

    Returns:
        One sample for each clip, sequence by sequence: `images` `(n, num_frames, height, width,
        channels)`, which hold row numbers and no pictures. A sequence that is too short gives one
        clip, padded at the end with frames whose pixels are all 0. The facts are those of the last
        real frame, but for `source`, which names the first and the last one, and `sha256`, which is
        that of the frames' hashes in their order.

    Raises:
        ConfigError: A setting is out of range.
        DataError: A fact is missing, a frame occurs twice, or the frames of a sequence show
            different people or carry different labels.
    """
    if num_frames < _MIN_FRAMES or stride < 1:
        raise ConfigError(
            f"clips: expected {_MIN_FRAMES} frames or more and a stride of 1 or more. Received: "
            f"num_frames={num_frames}, stride={stride}."
        )
    if sampling not in ("uniform", "last", "windows"):
        raise ConfigError(
            f"clips: expected sampling uniform, last or windows. Received: {sampling!r}."
        )
    real: list[list[int]] = []
    labels: list[int] = []
    for sequence in _sequences(frames):
        for label, course in enumerate(courses.values() if courses else (range,)):
            ordered = [sequence[place] for place in course(len(sequence))]
            for picked in _pick(len(ordered), num_frames, sampling, stride):
                real.append([ordered[place] for place in picked])
                labels.append(label)
    padding = len(frames)  # The row of the one black picture behind the frames.
    rows = np.full((len(real), num_frames), padding, np.int64)
    for clip, row in zip(real, rows, strict=True):
        row[: len(clip)] = clip
    last = np.array([clip[-1] for clip in real])
    sources, hashes = frames.facts["source"].tolist(), frames.facts["sha256"].tolist()
    facts = {column: values[last] for column, values in frames.facts.items()}
    facts["source"] = np.array([f"{sources[clip[0]]}..{sources[clip[-1]]}" for clip in real])
    facts["sha256"] = np.array([_joint_hash(hashes, clip) for clip in real])
    targets, class_names = frames.targets[last], frames.class_names
    if courses:
        facts["emotion"] = np.array(class_names)[frames.labels[last]]
        targets, class_names = one_hot(np.array(labels), len(courses)), tuple(courses)
    black = np.zeros((1, *frames.images.shape[1:]), np.uint8)
    return replace(
        frames,
        images=GatheredImages([frames.images, black], rows).as_array(),
        targets=targets,
        class_names=class_names,
        facts=facts,
        fingerprint=gathered_fingerprint([frames.fingerprint, *class_names], rows),
    )


def with_clips(frames: Samples, config: DatasetConfig) -> Samples:
    """Cuts a split into clips as an experiment asks for.

    Args:
        frames: The split, frame by frame.
        config: Its `clip_frames` and `clip_sampling`.

    Returns:
        Clips; the frames themselves where `clip_frames` is 0.

    Raises:
        ConfigError: Clips are asked for together with neutral faces, or of too few frames.
        DataError: The data set has no sequences.
    """
    if not config.clip_frames:
        return frames
    if config.neutral != "none":
        raise ConfigError(
            "dataset.clip_frames and dataset.neutral exclude each other: a network reads clips or "
            f"pairs. Received: {config.clip_frames} and {config.neutral!r}."
        )
    courses = getattr(dataset_module(config.name), "COURSES", None)
    clips = make_clips(frames, config.clip_frames, sampling=config.clip_sampling, courses=courses)
    note = (
        f"{frames.split}: {len(clips)} clips of {config.clip_frames} frames ({len(frames)} stored)"
    )
    return replace(clips, notes=(*clips.notes, note))


def real_frames(clips: np.ndarray) -> np.ndarray:
    """Which frames of clips are no padding.

    Args:
        clips: `(n, frames, height, width, channels)` uint8.

    Returns:
        `(n, frames)` bool: whether any pixel is above 0.
    """
    real: np.ndarray = np.any(np.asarray(clips), axis=(2, 3, 4))
    return real


def _joint_hash(hashes: Sequence[str], rows: Sequence[int]) -> str:
    return hashlib.sha256("".join(hashes[row] for row in rows).encode()).hexdigest()


def _sequences(frames: Samples) -> list[list[int]]:
    """The rows of each sequence by frame number, sequences in the order of their first row."""
    for column in ("sequence", "frame"):
        if column not in frames.facts:
            raise DataError(
                f"{frames.name}: expected the fact {column!r} to make clips. Received: "
                f"{', '.join(frames.facts)}."
            )
    if not len(frames):
        raise DataError(f"{frames.name} {frames.split}: expected frames. Received none.")
    by_sequence: dict[str, list[int]] = {}
    for row, sequence in enumerate(frames.facts["sequence"].tolist()):
        by_sequence.setdefault(str(sequence), []).append(row)
    number, labels, subjects = frames.facts["frame"], frames.labels, frames.facts["subject"]
    for sequence, rows in by_sequence.items():
        rows.sort(key=lambda row: int(number[row]))
        if len(set(number[rows].tolist())) < len(rows):
            raise DataError(f"{frames.name}: sequence {sequence} has a frame number twice.")
        if len(set(subjects[rows].tolist())) > 1 or len(set(labels[rows].tolist())) > 1:
            raise DataError(
                f"{frames.name}: expected one subject and one label for sequence {sequence}. "
                f"Received: {sorted(set(subjects[rows].tolist()))}, "
                f"{sorted({frames.class_names[label] for label in labels[rows]})}."
            )
    return list(by_sequence.values())


def _pick(length: int, num_frames: int, sampling: str, stride: int) -> Sequence[Sequence[int]]:
    """Places in a sequence of `length` frames, for each of its clips."""
    if length <= num_frames:
        return [range(length)]
    if sampling == "uniform":
        return [np.linspace(0, length - 1, num_frames).round().astype(int).tolist()]
    if sampling == "last":
        return [range(length - num_frames, length)]
    return [range(first, first + num_frames) for first in range(0, length - num_frames + 1, stride)]
