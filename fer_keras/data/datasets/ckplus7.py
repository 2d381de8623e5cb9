"""CK+ in seven classes: the last three frames of each labelled sequence, raw or as CK+48.

Source: Lucey et al., "The Extended Cohn-Kanade Dataset (CK+)", CVPR Workshops 2010. 327 labelled
sequences (anger 45, contempt 18, disgust 59, fear 25, happiness 69, sadness 28, surprise 83) of
118 subjects give 981 pictures; there is no neutral. There are no official splits: folds are cut by
subject, for most subjects show several emotions.
"""

from dataclasses import replace
from pathlib import Path

from fer_keras.data.datasets import ckplus_files
from fer_keras.data.samples import SourceContent

INFO = replace(
    ckplus_files.CKPLUS.without("neutral"),
    name="ckplus7",
    title="CK+, last three frames of 327 posed sequences in 7 classes, raw or CK+48",
    how_to_get=(
        f"{ckplus_files.CKPLUS.how_to_get}\n"
        "Or put the repackaging CK+48 there: ckplus/CK+48/happy/S010_006_00000015.png and the "
        "folders anger, contempt, disgust, fear, sadness, surprise. Where both are, raw is read."
    ),
)

find = ckplus_files.find_ckplus
source_files = ckplus_files.source_files


def read(source: Path) -> SourceContent:
    """The peak frames of every labelled sequence.

    Args:
        source: The root of either layout.

    Returns:
        One split, "train", with subjects and the attributes sequence, frame and phase.

    Raises:
        DataError: The layout is not as it should be; lists every fault by path.
    """
    is_repack = ckplus_files.is_repack(source)
    read_frames = ckplus_files.read_repack if is_repack else ckplus_files.read_raw
    frames, notes = read_frames(source, INFO)
    peaks = [frame for frame in frames if frame.phase == "peak"]
    return SourceContent(
        INFO.class_names, {"train": ckplus_files.examples(source, peaks, INFO)}, notes
    )
