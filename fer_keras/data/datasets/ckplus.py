"""CK+ in eight classes: the last three frames of each labelled sequence, its first as neutral.

Source: Lucey et al., "The Extended Cohn-Kanade Dataset (CK+)", CVPR Workshops 2010. 327 labelled
sequences of 118 subjects give 981 + 327 = 1,308 pictures. There are no official splits: folds are
cut by subject, for most subjects show several emotions.
"""

from dataclasses import replace
from pathlib import Path

from fer_keras.data.datasets import ckplus_files
from fer_keras.data.samples import SourceContent

INFO = replace(
    ckplus_files.CKPLUS,
    how_to_get=(
        f"{ckplus_files.CKPLUS.how_to_get}\n"
        "The repackaging CK+48 has no neutral frames: use the data set ckplus7 for it."
    ),
)

find = ckplus_files.find_ckplus  # `read` refuses CK+48 and says why
source_files = ckplus_files.source_files


def read(source: Path) -> SourceContent:
    """First and last three frames of every labelled sequence, no picture twice.

    Args:
        source: The folder with `cohn-kanade-images` and `Emotion`.

    Returns:
        One split, "train", with subjects and the attributes sequence, frame and phase.

    Raises:
        DataError: The layout is not as it should be (lists every fault by path), or is CK+48.
    """
    frames, notes = ckplus_files.read_raw(source, INFO)
    chosen = [
        replace(frame, emotion="neutral") if frame.phase == "neutral" else frame
        for frame in frames
        if frame.phase != "between"
    ]
    return SourceContent(
        INFO.class_names, {"train": ckplus_files.examples(source, chosen, INFO)}, notes
    )
