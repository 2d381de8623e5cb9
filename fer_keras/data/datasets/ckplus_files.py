"""The files of CK+ (extended Cohn-Kanade) in both layouts that are in use.

Raw, as the authors send it: every sequence goes from the neutral to the peak frame, and an emotion
file, named after its last frame, labels it. Without one it is unlabelled (593 sequences, 327 of
them labelled):

    cohn-kanade-images/S005/001/S005_001_00000011.png
    Emotion/S005/001/S005_001_00000011_emotion.txt      one number: 3.0000000e+00

Repackaged as CK+48: the faces of the last three frames of every labelled sequence, 48 x 48 pixels,
in folders named after emotions: `CK+48/happy/S010_006_00000015.png`.

Source: Lucey et al., "The Extended Cohn-Kanade Dataset (CK+)", CVPR Workshops 2010, and the readme
of the release.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fer_keras.common.errors import DataError
from fer_keras.data.datasets.class_folders import (
    list_files,
    list_folder,
    read_class_folders,
    refuse,
)
from fer_keras.data.samples import DatasetInfo, Example

NUM_PEAK_FRAMES = 3  # at the end of a sequence
_CODES: Mapping[int | str, str] = {
    0: "neutral",
    1: "anger",
    2: "contempt",
    3: "disgust",
    4: "fear",
    5: "happiness",
    6: "sadness",
    7: "surprise",
}
# The first and the last three frames of every labelled sequence, with the steps to the raw layout;
# the data sets that are cut from them state what differs.
CKPLUS = DatasetInfo(
    name="ckplus",
    title="CK+, first and last three frames of 327 posed sequences in 8 classes",
    class_names=tuple(_CODES.values()),
    codes=_CODES,
    official_counts={
        "train": dict(zip(_CODES.values(), (327, 135, 54, 177, 75, 207, 84, 249), strict=True)),
    },
    splits=("train",),
    licence=(
        "Signed agreement with the authors, for research only; neither the pixels nor pictures of "
        "them may be passed on."
    ),
    citation=(
        "Lucey et al., The Extended Cohn-Kanade Dataset (CK+): A complete dataset for action unit "
        "and emotion-specified expression, CVPR Workshops 2010"
    ),
    how_to_get=(
        "1. Ask the authors for CK+ (jeffcohn.net, Resources) and sign their agreement.\n"
        "2. Unpack the images and the emotion labels into the folder ckplus of your data folder "
        "(Landmarks and FACS may lie beside them; they are not read):\n"
        "  ckplus/cohn-kanade-images/S005/001/S005_001_00000011.png\n"
        "  ckplus/Emotion/S005/001/S005_001_00000011_emotion.txt\n"
        "3. Point FER_KERAS_DATA at the data folder."
    ),
    channels=3,  # some raw sequences are in colour
    attributes={"sequence": "str", "frame": "int64", "phase": "str"},
)

_IMAGES = "cohn-kanade-images"
_EMOTIONS = "Emotion"
_REPACK = "CK+48"
_REPACK_FOLDERS = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
_FRAME = re.compile(r"(S\d{3})_(\d{3})_(\d{8})\.png")


@dataclass(frozen=True)
class Frame:
    """One frame of a labelled sequence.

    Attributes:
        path: The picture.
        emotion: Of the sequence.
        subject: `"S005"`.
        sequence: `"S005_001"`.
        frame: Number in the file name, from 1 in most sequences.
        phase: `"neutral"` (the first), `"peak"` (the last three) or `"between"`; a sequence of
            three frames or fewer has the first as neutral only.
        position: 0 for the first frame of the sequence to 1 for the last.
    """

    path: Path
    emotion: str
    subject: str
    sequence: str
    frame: int
    phase: str
    position: float


def find_ckplus(folder: Path) -> Path | None:
    """The root of either layout in a data folder, or in its own folder; raw comes first.

    Args:
        folder: Where to look, also in `ckplus` and `CK+48` below it.

    Returns:
        The folder that holds `cohn-kanade-images` or `Emotion`, or the one that holds the emotion
        folders; None without either.
    """
    for root in (folder, folder / "ckplus"):
        if (root / _IMAGES).is_dir() or (root / _EMOTIONS).is_dir():
            return root
    for root in (folder, folder / _REPACK, folder / "ckplus", folder / "ckplus" / _REPACK):
        if is_repack(root):
            return root
    return None


def is_repack(source: Path) -> bool:
    """Whether a folder holds the emotion folders of CK+48."""
    return any((source / name).is_dir() for name in _REPACK_FOLDERS)


def source_files(source: Path) -> Iterable[Path]:
    """Every file that is read, in a fixed order."""
    if is_repack(source):
        return list_files(source)
    return itertools.chain(list_files(source / _IMAGES), list_files(source / _EMOTIONS))


def read_raw(source: Path, info: DatasetInfo) -> tuple[list[Frame], tuple[str, ...]]:
    """Every frame of every labelled sequence, by subject, sequence and number.

    Args:
        source: The folder with `cohn-kanade-images` and `Emotion`.
        info: Its codes are the labels that a sequence may have.

    Returns:
        Frames and notes.

    Raises:
        DataError: The layout is not as it should be (lists every fault by path), or is CK+48.
    """
    if is_repack(source):
        raise DataError(
            f"{source}: {info.name} needs the first frames of the sequences. Expected: the raw "
            f"layout, {_IMAGES}/S005/001/S005_001_00000011.png. Received: the repackaging CK+48, "
            f"which holds peak frames only. Use the data set ckplus7 for it."
        )
    faults = [
        f"{source / name}: missing" for name in (_IMAGES, _EMOTIONS) if not (source / name).is_dir()
    ]
    refuse(source, faults)
    sequences = {
        f"{subject.name}_{folder.name}": folder
        for subject in _folders(source / _IMAGES, r"S\d{3}", faults)
        for folder in _folders(subject, r"\d{3}", faults)
    }
    frames: list[Frame] = []
    num_labelled = 0
    for subject in _folders(source / _EMOTIONS, r"S\d{3}", faults):
        for folder in _folders(subject, r"\d{3}", faults):
            label = _read_label(folder, info.codes, faults)
            if label is None:
                continue
            path, emotion = label
            name = f"{subject.name}_{folder.name}"
            if name not in sequences:
                expected = source / _IMAGES / subject.name / folder.name
                faults.append(f"{path}: its sequence is missing, expected {expected}")
                continue
            num_labelled += 1
            found = list(_read_sequence(sequences[name], emotion, faults))
            if path.name.removesuffix("_emotion.txt") not in {frame.path.stem for frame in found}:
                faults.append(
                    f"{path}: the frame it is named after is missing in {sequences[name]}"
                )
            frames += found
    refuse(source, faults)
    if not frames:
        raise DataError(f"{source / _EMOTIONS}: expected emotion files. Received: none.")
    notes = ["whole frames as recorded, not cut to the face"]
    if num_labelled < len(sequences):
        notes.append(f"{len(sequences) - num_labelled} sequences without emotion file left out")
    return frames, tuple(notes)


def read_repack(source: Path, info: DatasetInfo) -> tuple[list[Frame], tuple[str, ...]]:
    """All pictures of CK+48, class by class.

    Args:
        source: The folder with the emotion folders.
        info: Its class names are the folders that must be there.

    Returns:
        Frames (all of the phase `"peak"`, at an unknown position) and notes.

    Raises:
        DataError: The layout is not as it should be; lists every fault by path.
    """
    faults: list[str] = []
    classes = read_class_folders(source, faults, info.class_names)
    frames: list[Frame] = []
    emotions: dict[str, str] = {}
    for emotion, paths in classes.items():
        for path in paths:
            parts = _FRAME.fullmatch(path.name)
            if parts is None:
                faults.append(f"{path}: expected a name like S010_004_00000017.png")
                continue
            subject, number, frame = parts.groups()
            sequence = f"{subject}_{number}"
            if emotions.setdefault(sequence, emotion) != emotion:
                faults.append(f"{path}: its sequence is also in {emotions[sequence]}")
            frames.append(Frame(path, emotion, subject, sequence, int(frame), "peak", float("nan")))
    refuse(source, faults)
    return frames, ("CK+48: faces cut to 48 x 48 pixels by its maker",)


def examples(root: Path, frames: Iterable[Frame], info: DatasetInfo) -> Iterator[Example]:
    """Frames as examples, labelled with the emotion of their sequence.

    Args:
        root: Sources are paths below it.
        frames: What to convert.
        info: Its class names give the labels, its attributes name the facts of a frame to keep.

    Yields:
        One example for each frame.
    """
    for frame in frames:
        yield Example(
            image=frame.path,
            label=info.class_names.index(frame.emotion),
            source=frame.path.relative_to(root).as_posix(),
            subject=frame.subject,
            attributes={name: getattr(frame, name) for name in info.attributes},
        )


def _folders(parent: Path, pattern: str, faults: list[str]) -> Iterator[Path]:
    """The folders in a folder; whatever is not named by the pattern is a fault."""
    for path in list_folder(parent, faults):
        if re.fullmatch(pattern, path.name) and path.is_dir():
            yield path
        else:
            faults.append(f"{path}: expected only folders named {pattern} here")


def _read_label(
    folder: Path, codes: Mapping[int | str, str], faults: list[str]
) -> tuple[Path, str] | None:
    """The emotion file of a sequence and its emotion; None where it is unlabelled or wrong."""
    paths = _files_of(folder, "_emotion.txt", faults)
    if len(paths) > 1:
        faults.append(f"{folder}: expected one emotion file, found {len(paths)}")
    if len(paths) != 1:
        return None
    (path,) = paths
    try:
        text = path.read_text("ascii").strip()
        code = float(text)
    except (OSError, ValueError):
        faults.append(f"{path}: expected one number")
        return None
    if not code.is_integer() or int(code) not in codes:
        known = ", ".join(f"{number} {name}" for number, name in codes.items())
        faults.append(f"{path}: unknown emotion code {text[:20]!r}. Known: {known}")
        return None
    return path, codes[int(code)]


def _read_sequence(folder: Path, emotion: str, faults: list[str]) -> Iterator[Frame]:
    paths = _files_of(folder, ".png", faults)
    if len(paths) < 2:
        faults.append(f"{folder}: expected at least two frames, found {len(paths)}")
        return
    for place, path in enumerate(paths):
        if place == 0:
            phase = "neutral"
        else:
            phase = "peak" if place >= len(paths) - NUM_PEAK_FRAMES else "between"
        yield Frame(
            path=path,
            emotion=emotion,
            subject=folder.parent.name,
            sequence=f"{folder.parent.name}_{folder.name}",
            frame=int(path.stem[-8:]),
            phase=phase,
            position=place / (len(paths) - 1),
        )


def _files_of(folder: Path, ending: str, faults: list[str]) -> list[Path]:
    """The files of a sequence by frame; whatever is not named after its folder is a fault."""
    sequence = f"{folder.parent.name}_{folder.name}"
    paths: list[Path] = []
    for path in list_folder(folder, faults):
        if re.fullmatch(rf"{sequence}_\d{{8}}{re.escape(ending)}", path.name):
            paths.append(path)
        else:
            faults.append(f"{path}: expected only {sequence}_(8 digits){ending} here")
    return paths
