"""CK+ as sequences: every frame of every labelled sequence, from neutral to peak.

Source: Lucey et al., "The Extended Cohn-Kanade Dataset (CK+)", CVPR Workshops 2010. A frame carries
the emotion of its sequence, the first and neutral one too: it is made for clips, which take a
sequence as a whole. The number of frames is nowhere official; 327 sequences of 118 subjects are.
"""

from dataclasses import replace
from pathlib import Path

from fer_keras.data.datasets import ckplus_files
from fer_keras.data.samples import SourceContent

INFO = replace(
    ckplus_files.CKPLUS.without("neutral"),
    name="ckplus_sequences",
    title="CK+, all frames of 327 posed sequences in 7 classes",
    official_counts={},
    how_to_get=(
        f"{ckplus_files.CKPLUS.how_to_get}\n"
        "The repackaging CK+48 has peak frames only: use the data set ckplus7 for it."
    ),
    attributes={**ckplus_files.CKPLUS.attributes, "position": "float32"},
)

find = ckplus_files.find_ckplus  # `read` refuses CK+48 and says why
source_files = ckplus_files.source_files


def read(source: Path) -> SourceContent:
    """Every frame of every labelled sequence.

    Args:
        source: The folder with `cohn-kanade-images` and `Emotion`.

    Returns:
        One split, "train", with subjects and the attributes sequence, frame, phase and position
        (0 the first frame of its sequence, 1 the last).

    Raises:
        DataError: The layout is not as it should be (lists every fault by path), or is CK+48.
    """
    frames, notes = ckplus_files.read_raw(source, INFO)
    return SourceContent(
        INFO.class_names, {"train": ckplus_files.examples(source, frames, INFO)}, notes
    )
