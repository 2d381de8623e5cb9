"""CTBC (MISLAB, NTHU): seven expressions of ten subjects, filmed by several cameras; private.

The data set was never published, nor were its label names. What is read here is a generic layout:

    ROOT/labels.txt                     folder name -> emotion, one a line, seven lines
    ROOT/SUBJECT/LABEL/FRAME.png        or .jpg

The file name of a frame holds its camera as a part `camN` between underscores, at the beginning or
at the end: `0001_cam2.png`, `s01_cam2_0001.jpg`. A bare number or `c2` would be ambiguous and is
refused. As in the experiments on it, only camera 2, the frontal one, is used.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fer_keras.common.errors import DataError
from fer_keras.common.labels import EMOTIONS, canonical
from fer_keras.data.datasets.class_folders import list_files, list_folder, read_pictures, refuse
from fer_keras.data.samples import DatasetInfo, Example, SourceContent

_LABEL_FILE = "labels.txt"
_NUM_LABELS = 7
_FRONTAL_CAMERA = 2
_CAMERA = re.compile(r"(?:^|_)cam(\d+)(?=_|$)", re.IGNORECASE)

INFO = DatasetInfo(
    name="ctbc",
    title="CTBC (private), 10 subjects, the 7 emotions that labels.txt names, frontal camera",
    class_names=EMOTIONS,
    codes={},
    official_counts={},
    splits=("train",),
    licence="Private data of MISLAB, National Tsing Hua University; theirs to give.",
    citation="",
    how_to_get=(
        "1. Ask MISLAB, National Tsing Hua University, for CTBC.\n"
        "2. Bring it into this layout, in the folder ctbc of your data folder:\n"
        "  ctbc/SUBJECT/LABEL/FRAME.png (or .jpg), FRAME with its camera: 0001_cam2.png\n"
        "3. Write ctbc/labels.txt, seven lines that say what the label folders mean, for instance\n"
        "  1 -> happiness\n"
        "4. Point FER_KERAS_DATA at the data folder."
    ),
    channels=3,
    attributes={"camera": "int64"},
)


def find(folder: Path) -> Path | None:
    """The folder with `labels.txt`, or the one called `ctbc` below a data folder."""
    if (folder / _LABEL_FILE).is_file():
        return folder
    return folder / INFO.name if (folder / INFO.name).is_dir() else None


def source_files(source: Path) -> Iterable[Path]:
    """Every file below the root, in a fixed order."""
    return list_files(source)


def read(source: Path) -> SourceContent:
    """The pictures of camera 2, subject by subject.

    Args:
        source: The folder with `labels.txt` and one folder for each subject.

    Returns:
        One split, "train", with subjects and the attribute camera; the classes are those that
        `labels.txt` names.

    Raises:
        DataError: The layout is not as it should be; lists every fault by path.
    """
    faults: list[str] = []
    emotions = _read_labels(source / _LABEL_FILE, faults)
    refuse(source, faults)
    class_names = tuple(name for name in EMOTIONS if name in emotions.values())
    pictures = [
        (subject, emotion, path, _camera(path, faults))
        for subject, emotion, path in _pictures(source, emotions, faults)
    ]
    refuse(source, faults)
    frontal = [
        Example(
            image=path,
            label=class_names.index(emotion),
            source=path.relative_to(source).as_posix(),
            subject=subject,
            attributes={"camera": camera},
        )
        for subject, emotion, path, camera in pictures
        if camera == _FRONTAL_CAMERA
    ]
    if not frontal:
        raise DataError(
            f"{source}: expected pictures of camera {_FRONTAL_CAMERA}, as 0001_cam2.png. Received: "
            f"{len(pictures)} pictures of other cameras."
        )
    others = len(pictures) - len(frontal)
    notes = (f"{others} pictures of other cameras left out",) if others else ()
    return SourceContent(class_names, {"train": frontal}, notes)


def _pictures(
    root: Path, emotions: Mapping[str, str], faults: list[str]
) -> Iterator[tuple[str, str, Path]]:
    """Subject, emotion and path of every picture, of all cameras."""
    for subject in list_folder(root, faults):
        if subject.name == _LABEL_FILE:
            continue
        if not subject.is_dir():
            faults.append(f"{subject}: expected only {_LABEL_FILE} and subject folders here")
            continue
        labels = list_folder(subject, faults)
        if not labels:
            faults.append(f"{subject}: empty")
        for folder in labels:
            if folder.name in emotions and folder.is_dir():
                for path in read_pictures(folder, faults):
                    yield subject.name, emotions[folder.name], path
            else:
                faults.append(
                    f"{folder}: expected only folders that {_LABEL_FILE} names here: "
                    f"{', '.join(emotions)}"
                )


def _camera(path: Path, faults: list[str]) -> int:
    numbers = _CAMERA.findall(path.stem)
    if len(numbers) != 1:
        faults.append(
            f"{path}: expected one camera number in the name, as in 0001_cam2.png, found "
            f"{len(numbers)}"
        )
        return -1
    return int(numbers[0])


def _read_labels(path: Path, faults: list[str]) -> dict[str, str]:
    """Folder name -> emotion."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        faults.append(f"{path}: missing. Write seven lines into it: folder name -> emotion")
        return {}
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{path}: cannot be read as text: {error}")
        return {}
    emotions: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, arrow, emotion = (part.strip() for part in line.partition("->"))
        if not (name and arrow and emotion):
            faults.append(f"{path}, line {number}: expected folder name -> emotion: {line[:40]!r}")
            continue
        try:
            emotion = canonical(emotion)
        except DataError as error:
            faults.append(f"{path}, line {number}: {error}")
            continue
        if name in emotions or emotion in emotions.values():
            faults.append(f"{path}, line {number}: {name} or {emotion} is named twice")
        emotions[name] = emotion
    if not faults and len(emotions) != _NUM_LABELS:
        faults.append(f"{path}: expected {_NUM_LABELS} lines, found {len(emotions)}")
    return emotions
