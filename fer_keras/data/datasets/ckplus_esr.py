"""CK+ as ESR's program reads it: the last three frames, and as neutral the one before them.

Siqueira et al. (AAAI 2020) describe the first frame as the neutral one, as `ckplus` has it; their
program takes the fourth from the end, in which the expression has mostly begun.
"""

import itertools
from dataclasses import replace
from pathlib import Path

from fer_keras.data.datasets import ckplus_files
from fer_keras.data.samples import SourceContent

INFO = replace(
    ckplus_files.CKPLUS,
    name="ckplus_esr",
    title="CK+, last four frames of 327 posed sequences, the first of them as neutral",
    how_to_get=(
        f"{ckplus_files.CKPLUS.how_to_get}\n"
        "The repackaging CK+48 has three frames of a sequence: use the data set ckplus7 for it."
    ),
)

find = ckplus_files.find_ckplus
source_files = ckplus_files.source_files


def read(source: Path) -> SourceContent:
    """The last four frames of every labelled sequence.

    Args:
        source: The folder with `cohn-kanade-images` and `Emotion`.

    Returns:
        One split, "train", with subjects and the attributes sequence, frame and phase. A sequence
        of three frames or fewer has its first as neutral.

    Raises:
        DataError: The layout is not as it should be (lists every fault by path), or is CK+48.
    """
    frames, notes = ckplus_files.read_raw(source, INFO)
    chosen = []
    for _, sequence in itertools.groupby(frames, lambda frame: frame.sequence):
        neutral, *peaks = list(sequence)[-1 - ckplus_files.NUM_PEAK_FRAMES :]
        chosen += [replace(neutral, emotion="neutral", phase="neutral"), *peaks]
    return SourceContent(
        INFO.class_names, {"train": ckplus_files.examples(source, chosen, INFO)}, notes
    )
