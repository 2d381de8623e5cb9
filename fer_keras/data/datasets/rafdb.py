"""RAF-DB (basic): 15,339 faces from the web in seven classes, aligned to 100 x 100 pixels.

Source: Li et al., "Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression
Recognition in the Wild", CVPR 2017. Counts: the label list of the release. Two label orders are in
use for copies in folders: folders 1..7 follow the release; folders 0..6 follow the copies made for
MA-Net (Zhao et al., "Learning Deep Global Multi-scale and Local Attention Features for Facial
Expression Recognition in the Wild", TIP 2021). The release has no validation split.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fer_keras.data.datasets.class_folders import list_files, list_folder, read_pictures, refuse
from fer_keras.data.samples import DatasetInfo, Example, SourceContent

_CLASS_NAMES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
_CODES = dict(enumerate(_CLASS_NAMES, start=1))
_MANET_CODES = dict(
    enumerate(("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger"))
)
_SPLITS = ("train", "test")

_LIST = Path("EmoLabel", "list_patition_label.txt")  # spelt so in the release
_ALIGNED = Path("Image", "aligned")
_MANUAL = Path("Annotation", "manual")
_LIST_LINE = re.compile(r"((train|test)_\d+)\.jpg (\d+)")

_NUM_LANDMARK_VALUES = 10
_ATTRIBUTE_CODES = {
    "gender": ("male", "female", "unsure"),
    "race": ("Caucasian", "African-American", "Asian"),
    "age_group": ("0-3", "4-19", "20-39", "40-69", "70+"),
}

INFO = DatasetInfo(
    name="rafdb",
    title="RAF-DB (basic), 15,339 aligned faces of 100 x 100 pixels in 7 classes",
    class_names=_CLASS_NAMES,
    codes=dict(enumerate(_CLASS_NAMES, start=1)),
    official_counts={
        "train": dict(zip(_CLASS_NAMES, (1290, 281, 717, 4772, 1982, 705, 2524), strict=True)),
        "test": dict(zip(_CLASS_NAMES, (329, 74, 160, 1185, 478, 162, 680), strict=True)),
    },
    splits=_SPLITS,
    licence=(
        "For non-commercial research and education only, on request; neither the pictures nor "
        "pictures of them may be passed on."
    ),
    citation=(
        "Li et al., Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression "
        "Recognition in the Wild, CVPR 2017"
    ),
    how_to_get=(
        "1. Ask the authors for RAF-DB (whdeng.cn/RAF/model1.html), from the address of a research "
        "institution.\n"
        "2. Unpack the basic part into the folder rafdb of your data folder:\n"
        "  rafdb/basic/EmoLabel/list_patition_label.txt\n"
        "  rafdb/basic/Image/aligned/train_00001_aligned.jpg, test_0001_aligned.jpg\n"
        "  rafdb/basic/Annotation/manual/train_00001_manu_attri.txt (optional: age group, gender, "
        "race, landmarks)\n"
        "or a copy in folders, rafdb/train/1/NAME.jpg and rafdb/test/1/NAME.jpg: folders 1..7 are "
        "read as surprise, fear, disgust, happiness, sadness, anger, neutral; folders 0..6 as "
        "neutral, happiness, sadness, surprise, fear, disgust, anger.\n"
        "3. Point FER_KERAS_DATA at the data folder."
    ),
    channels=3,
    attributes={
        "age_group": "str",
        "gender": "str",
        "race": "str",
        # "x y" of both eyes, the nose and both corners of the mouth, as text: pixels of the
        # original picture, which is not the aligned one that is stored.
        "original_landmarks": "str",
    },
    crops="aligned by its authors, 100 x 100 pixels",
)
_UNKNOWN = dict.fromkeys(INFO.attributes, "")


@dataclass(frozen=True)
class _Face:
    picture: Path
    emotion: str
    attributes: Mapping[str, str] = field(default_factory=lambda: _UNKNOWN)


_Faces = dict[str, list[_Face]]  # split -> its faces


def find(folder: Path) -> Path | None:
    """The folder with `EmoLabel` and `Image`, or with numbered folders below `train`.

    Args:
        folder: The data folder, the set's own folder, or `basic` or `DATASET` in it.

    Returns:
        The first that is there; None without any.
    """
    places = (".", "basic", "DATASET", "rafdb", "rafdb/basic", "rafdb/DATASET")
    roots = [folder / place for place in places]
    return next((root for root in roots if _is_release(root) or _has_numbered_folders(root)), None)


def source_files(source: Path) -> Iterator[Path]:
    """The files a prepared copy depends on."""
    if _is_release(source):
        for part in (_LIST.parent, _ALIGNED, _MANUAL):
            yield from list_files(source / part)
    else:
        yield from list_files(source)


def read(source: Path) -> SourceContent:
    """All faces of the release or of a copy in folders.

    Args:
        source: As returned by `find`.

    Returns:
        The splits train and test. Without the manual annotations the attributes are `""`, and a
        note says so.

    Raises:
        DataError: The layout is not as it should be; lists every fault by path.
    """
    faults: list[str] = []
    faces = (_read_release if _is_release(source) else _read_folders)(source, faults)
    refuse(source, faults)
    notes: tuple[str, ...] = ()
    if all(face.attributes is _UNKNOWN for face in faces["train"]):
        notes = ("no manual annotations in this copy: age group, gender and race are unknown",)
    splits = {split: _examples(source, faces[split]) for split in _SPLITS}
    return SourceContent(INFO.class_names, splits, notes)


def _examples(source: Path, faces: list[_Face]) -> Iterator[Example]:
    for face in faces:
        yield Example(
            image=face.picture,
            label=_CLASS_NAMES.index(face.emotion),
            source=face.picture.relative_to(source).as_posix(),
            attributes=face.attributes,
        )


def _is_release(root: Path) -> bool:
    return (root / _LIST.parent).is_dir() or (root / _ALIGNED).is_dir()


def _has_numbered_folders(root: Path) -> bool:
    return any((root / "train" / str(code)).is_dir() for code in _CODES | _MANET_CODES)


def _read_release(source: Path, faults: list[str]) -> _Faces:
    faces: _Faces = {split: [] for split in _SPLITS}
    aligned, manual = source / _ALIGNED, source / _MANUAL
    missing = [path for path in (source / _LIST, aligned) if not path.exists()]
    if missing:
        faults += [f"{path}: missing" for path in missing]
        return faces
    unread = {path.name for path in list_folder(aligned, faults)}
    has_attributes = manual.is_dir()
    for number, line in enumerate(_lines(source / _LIST, faults), start=1):
        where = f"{source / _LIST}, line {number}"
        match = _LIST_LINE.fullmatch(line.strip())
        if match is None:
            faults.append(f"{where}: expected 'train_00001.jpg 5', received {line[:40]!r}")
            continue
        stem, split, code = match[1], match[2], int(match[3])
        picture = aligned / f"{stem}_aligned.jpg"
        if code not in _CODES:
            faults.append(f"{where}: unknown code {code}, expected 1..7")
        elif picture.name not in unread:
            twice = "stands in an earlier line too" if picture.exists() else "no such picture"
            faults.append(f"{where}: {twice}: {picture}")
        elif has_attributes:
            attributes = _read_attributes(manual / f"{stem}_manu_attri.txt", faults)
            faces[split].append(_Face(picture, _CODES[code], attributes))
        else:
            faces[split].append(_Face(picture, _CODES[code]))
        unread.discard(picture.name)
    faults += [f"{aligned / name}: not in {_LIST.name}" for name in sorted(unread)]
    faults += [f"{source / _LIST}: no pictures of {split}" for split in _SPLITS if not faces[split]]
    return faces


def _lines(path: Path, faults: list[str]) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{path}: cannot be read: {error}")
        return []


def _read_attributes(path: Path, faults: list[str]) -> dict[str, str]:
    """Five landmarks, one a line, then the codes of gender, race and age group."""
    if not path.exists():
        faults.append(f"{path}: missing")
        return {}
    cells = " ".join(_lines(path, faults)).split()
    landmarks, codes = cells[:_NUM_LANDMARK_VALUES], cells[_NUM_LANDMARK_VALUES:]
    attributes = {"original_landmarks": " ".join(landmarks)}
    try:
        if not all(math.isfinite(float(value)) for value in landmarks):
            raise ValueError("a landmark is not finite")
        for (name, values), code in zip(_ATTRIBUTE_CODES.items(), codes, strict=True):
            attributes[name] = dict(enumerate(values))[int(code)]
    except (ValueError, KeyError):
        faults.append(
            f"{path}: expected 5 landmarks 'x y', then gender 0..2, race 0..2 and age group 0..4. "
            f"Received: {' '.join(cells)[:120]}"
        )
    return attributes


def _read_folders(source: Path, faults: list[str]) -> _Faces:
    faces: _Faces = {split: [] for split in _SPLITS}
    if not _has_numbered_folders(source):
        faults.append(f"{source}: expected the folders EmoLabel and Image, or train/1 to train/7")
        return faces
    faults += [
        f"{path}: expected only the folders train and test here"
        for path in list_folder(source, faults)
        if path.name not in _SPLITS
    ]
    missing = [source / split for split in _SPLITS if not (source / split).is_dir()]
    if missing:
        faults += [f"{path}: missing" for path in missing]
        return faces
    found = {path.name for split in _SPLITS for path in list_folder(source / split, [])}
    if "0" in found and "7" in found:
        faults.append(
            f"{source}: folders 0 and 7: either 0..6 or 1..7, they have other label orders"
        )
        return faces
    codes = _MANET_CODES if "0" in found else _CODES
    for split in _SPLITS:
        faces[split] = _read_classes(source / split, codes, faults)
    _check_order(source, faces["train"], codes, faults)
    return faces


def _read_classes(folder: Path, codes: Mapping[int, str], faults: list[str]) -> list[_Face]:
    expected = {str(code): emotion for code, emotion in codes.items()}
    names = {path.name for path in list_folder(folder, faults)}
    faults += [
        f"{folder / name}: expected only the folders {min(codes)}..{max(codes)} here"
        for name in sorted(names - expected.keys())
    ]
    faults += [f"{folder / name}: missing" for name in expected if name not in names]
    return [
        _Face(picture, emotion)
        for name, emotion in expected.items()
        if name in names
        for picture in read_pictures(folder / name, faults)
    ]


def _check_order(
    source: Path, faces: list[_Face], codes: Mapping[int, str], faults: list[str]
) -> None:
    """A whole copy whose folders have the official sizes of other classes is in another order."""
    official = INFO.official_counts["train"]
    counts = [sum(face.emotion == emotion for face in faces) for emotion in codes.values()]
    read_as = list(codes.values())
    if sorted(counts) == sorted(official.values()) and counts != [official[n] for n in read_as]:
        true_names = {count: name for name, count in official.items()}
        order = ", ".join(true_names[count] for count in counts)
        faults.append(
            f"{source}: folders {min(codes)}..{max(codes)} have the official sizes of {order}, not "
            f"of {', '.join(read_as)}. Rename them after the official codes: "
            f"{', '.join(f'{code} {name}' for code, name in _CODES.items())}"
        )
