"""Clips of a fixed number of frames, for networks that read a face's course over time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fer_keras.data.gathered import GatheredImages, gathered_fingerprint
from fer_keras.data.samples import Samples
from fer_keras.errors import ConfigError, DataError


@dataclass(frozen=True)
class Clips:
    """Clips with their padding masks.

    Attributes:
        samples: One sample for each clip; `images` `(n, frames, height, width, channels)`. The
            facts are those of the last real frame; `source` names the first and the last one.
        mask: `(n, frames)` bool, true for real frames; padding repeats the last one.
    """

    samples: Samples
    mask: np.ndarray


def make_clips(
    frames: Samples,
    num_frames: int,
    *,
    sampling: Literal["uniform", "last", "windows"] = "uniform",
    stride: int = 1,
) -> Clips:
    """Cuts sequences of frames into clips of one length.

    Args:
        frames: Frames with the facts `sequence` (which sequence a frame belongs to) and `frame`
            (its number in it).
        num_frames: Frames of a clip, 2 or more.
        sampling: `uniform`: one clip a sequence, its frames spread from the first to the last;
            `last`: one clip a sequence, its last frames; `windows`: every window of `num_frames`.
        stride: From one window to the next, in frames.

    Returns:
        The clips, sequence by sequence. A sequence that is too short gives one clip, padded at the
        end.

    Raises:
        ConfigError: A setting is out of range.
        DataError: A fact is missing, a frame occurs twice, or the frames of a sequence show
            different people or carry different labels.
    """
    if num_frames < 2 or stride < 1:
        raise ConfigError(
            "clips: expected num_frames of 2 or more and a stride of 1 or more. Received: "
            f"num_frames={num_frames}, stride={stride}."
        )
    if sampling not in ("uniform", "last", "windows"):
        raise ConfigError(
            f"clips: expected sampling uniform, last or windows. Received: {sampling!r}."
        )
    rows: list[list[int]] = []
    lengths: list[int] = []
    for sequence in _sequences(frames):
        for picked in _pick(len(sequence), num_frames, sampling, stride):
            real = [sequence[place] for place in picked]
            rows.append(real + [real[-1]] * (num_frames - len(real)))
            lengths.append(len(real))
    indices = np.array(rows, np.int64)
    mask = np.arange(num_frames) < np.array(lengths)[:, np.newaxis]
    last = indices[:, -1]
    sources = frames.facts["source"]
    facts = {column: values[last] for column, values in frames.facts.items()}
    facts["source"] = np.array([f"{sources[row[0]]}..{sources[row[-1]]}" for row in rows])
    samples = replace(
        frames,
        images=GatheredImages([frames.images], indices).as_array(),
        targets=frames.targets[last],
        facts=facts,
        fingerprint=gathered_fingerprint([frames.fingerprint], indices),
    )
    return Clips(samples, mask)


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
