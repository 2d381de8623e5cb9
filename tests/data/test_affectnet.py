"""AffectNet with 8 classes, 7 classes and a tenth of them, from both releases."""

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.data import list_datasets
from fer_keras.data.__main__ import main
from fer_keras.data.datasets import affectnet, affectnet7, affectnet_files, affectnet_small
from fer_keras.data.load import describe, find_source, load_samples, prepare
from fer_keras.data.prepared import read_content
from fer_keras.data.samples import Example, SourceContent, pixel_sha256

# The data set's own documentation.
NAMES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
HEADER = [
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
]
HEIGHT, WIDTH = 24, 40
# Column 17, row 3: with rows and columns exchanged it would be another part of the picture.
BOX = (17, 3, 9, 14)


def _draw(path: Path, seed: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), image)


def _write_list(path: Path, rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([HEADER, *rows])


def _row(
    picture: str, code: int, box: tuple[object, ...] = BOX, valence: str = "0.25"
) -> list[str]:
    landmarks = ";".join(f"{place}.5" for place in range(136))
    return [picture, *map(str, box), landmarks, str(code), valence, "-0.5"]


def _lists(
    root: Path,
    train: tuple[int, ...] = (7, 0, 8, 3, 6, 9, 10, 1),
    validation: tuple[int, ...] = (2, 4, 5, 7),
    at: str = ".",
    pictures: str = "Manually_Annotated_Images",
) -> Path:
    """The older release; the folder of a picture says nothing about its class."""
    seed = 0
    for name, codes in (("training.csv", train), ("validation.csv", validation)):
        rows = []
        for place, code in enumerate(codes):
            picture = f"{100 + seed % 3}/{name[0]}{place:04x}.{'png' if seed % 2 else 'jpg'}"
            if code in (8, 9, 10):
                rows.append(_row(picture, code, ("NULL",) * 4, "-2"))
            else:
                rows.append(_row(picture, code))
                _draw(root / pictures / picture, seed)
            seed += 1
        _write_list(root / at / name, rows)
    return root


def _sets(
    root: Path,
    train: tuple[int, ...] = (7, 0, 3, 6, 9, 1, 5, 5, 5, 5, 2),
    validation: tuple[int, ...] = (2, 4, 5, 7),
    as_text: bool = True,
) -> Path:
    """The newer release, the arrays of which hold text in some copies and numbers in others."""
    for name, codes in (("train_set", train), ("val_set", validation)):
        folder = root / name
        (folder / "annotations").mkdir(parents=True)
        for number, code in enumerate(codes):
            _draw(folder / "images" / f"{number}.jpg", number, (8, 8))
            values = {"exp": code, "val": number / 100, "aro": -2 if number == 3 else -0.5}
            for kind, value in values.items():
                array = np.array(str(value) if as_text else value)
                np.save(folder / "annotations" / f"{number}_{kind}.npy", array)
            np.save(folder / "annotations" / f"{number}_lnd.npy", np.arange(136.0))
    return root


def _examples(content: SourceContent) -> dict[str, list[Example]]:
    return {split: list(examples) for split, examples in content.splits.items()}


def _named(content: SourceContent, split: str) -> list[str]:
    return [content.class_names[example.label] for example in content.splits[split]]


def test_the_lists_give_every_face_its_label_by_name(tmp_path: Path) -> None:
    root = _lists(tmp_path / "affectnet")
    content = affectnet.read(root)
    assert content.class_names == NAMES
    found = _examples(content)
    assert [NAMES[e.label] for e in found["train"]] == [
        "contempt",
        "neutral",
        "surprise",
        "anger",
        "happiness",
    ]
    assert [NAMES[e.label] for e in found["validation"]] == [
        "sadness",
        "fear",
        "disgust",
        "contempt",
    ]
    first, second, *_ = found["train"]
    assert (first.source, second.source) == ("100/t0000.jpg", "101/t0001.png")
    assert first.image == root / "Manually_Annotated_Images" / "100" / "t0000.jpg"
    assert first.crop == BOX
    assert first.attributes == {"valence": 0.25, "arousal": -0.5}
    assert not {e.source for e in found["train"]} & {e.source for e in found["validation"]}
    assert content.notes == (
        affectnet_files.NO_TEST_NOTE,
        "train: left out 1 none, 1 uncertain, 1 no face",
    )
    assert "no public test set" in affectnet_files.NO_TEST_NOTE


@pytest.mark.parametrize("as_text", [True, False])
def test_the_sets_give_every_face_its_label_by_name(tmp_path: Path, as_text: bool) -> None:
    root = _sets(tmp_path, as_text=as_text)
    content = affectnet.read(root)
    found = _examples(content)
    assert [NAMES[e.label] for e in found["train"]] == [
        "contempt",
        "neutral",
        "surprise",
        "anger",
        "happiness",
        *["disgust"] * 4,
        "sadness",
    ]
    # 10 stands after 9, not after 1, and number 4 is annotated as uncertain.
    assert [e.source for e in found["train"]][3:] == [
        f"train_set/images/{number}.jpg" for number in (3, 5, 6, 7, 8, 9, 10)
    ]
    assert [NAMES[e.label] for e in found["validation"]] == [
        "sadness",
        "fear",
        "disgust",
        "contempt",
    ]
    assert found["train"][0].image == root / "train_set" / "images" / "0.jpg"
    assert found["train"][0].crop is None
    assert found["train"][4].attributes == {"valence": 0.05, "arousal": -0.5}
    assert np.isnan(found["train"][3].attributes["arousal"])
    assert content.notes[1:] == ("train: left out 1 uncertain",)


@pytest.mark.parametrize(
    ("at", "pictures"),
    [
        (".", "."),
        ("Manually_Annotated_file_lists", "Manually_Annotated/Manually_Annotated_Images"),
        ("Manually_Annotated_file_lists", "Manually_Annotated_Images"),
    ],
)
def test_every_place_of_lists_and_pictures(tmp_path: Path, at: str, pictures: str) -> None:
    root = _lists(tmp_path / "affectnet", at=at, pictures=pictures)
    for module in (affectnet, affectnet7, affectnet_small):
        assert module.find(tmp_path) == module.find(root) == root
    assert len(_examples(affectnet.read(root))["train"]) == 5


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert affectnet.find(tmp_path) is None
    for source in (tmp_path, tmp_path / "training.csv"):
        with pytest.raises(DataError, match="neither"):
            affectnet.read(source)


def test_prepared_crops_are_the_pixels_in_the_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _lists(tmp_path / "data" / "affectnet")
    monkeypatch.setenv("FER_KERAS_DATA", str(tmp_path / "data"))
    assert find_source("affectnet") == root
    options = {"cache_dir": tmp_path / "cache", "image_size": (14, 9), "channels": 3}
    train = load_samples("affectnet", "train", **options)
    assert [NAMES[label] for label in train.labels] == [
        "contempt",
        "neutral",
        "surprise",
        "anger",
        "happiness",
    ]
    left, top, width, height = BOX
    for image, source, sha256 in zip(
        train.images, train.facts["source"], train.facts["sha256"], strict=True
    ):
        picture = cv2.imread(str(root / "Manually_Annotated_Images" / source))[..., ::-1]
        expected = picture[top : top + height, left : left + width]
        np.testing.assert_array_equal(image, expected, err_msg=source)
        assert sha256 == pixel_sha256(expected)
    np.testing.assert_array_equal(train.facts["valence"], np.float32([0.25] * 5))
    assert len(load_samples("affectnet", "validation", **options)) == 4
    with pytest.raises(DataError, match=r"no test split here .*no public test set"):
        load_samples("affectnet", "test", **options)


def test_prepared_sets(tmp_path: Path) -> None:
    root = _sets(tmp_path / "data")
    options = {"source": root, "cache_dir": tmp_path / "cache", "image_size": 8, "channels": 3}
    train = load_samples("affectnet", "train", **options)
    assert train.class_counts()["disgust"] == 4
    picture = cv2.imread(str(root / "train_set" / "images" / "10.jpg"))[..., ::-1]
    np.testing.assert_array_equal(train.images[-1], picture)
    assert np.flatnonzero(np.isnan(train.facts["arousal"])).tolist() == [3]


def test_a_row_without_a_box_is_left_out_and_counted(tmp_path: Path) -> None:
    root = _lists(tmp_path)
    rows = [_row("100/t0000.jpg", 7), _row("100/t0003.png", 3, ("NULL", "NULL", -1, -1))]
    _write_list(root / "training.csv", rows)
    content = affectnet.read(root)
    assert _named(content, "train") == ["contempt"]
    assert "train: left out 1 without a face box" in content.notes


def test_boxes_outside_the_picture_are_listed_by_picture(tmp_path: Path) -> None:
    root = _lists(tmp_path / "data")
    boxes = [(-5, -4, 9, 10), (30, 20, 100, 100), (40, 0, 5, 5), (0, 0, 0, 5)]
    pictures = ("100/t0000.jpg", "101/t0001.png", "100/t0003.png", "101/t0004.jpg")
    rows = [_row(picture, 1, box) for picture, box in zip(pictures, boxes, strict=True)]
    _write_list(root / "training.csv", rows)
    with pytest.raises(DataError, match=r"2 pictures .* cannot be used") as caught:
        prepare("affectnet", root, tmp_path / "cache")
    assert "t0003.png" in str(caught.value)
    assert "left 0, top 0, width 0, height 5" in str(caught.value)
    assert "t0000.jpg" not in str(caught.value)
    _write_list(root / "training.csv", rows[:2])
    options = {"source": root, "cache_dir": tmp_path / "cache", "channels": 3}
    clipped = load_samples("affectnet", "train", image_size=(6, 4), **options)
    picture = cv2.imread(str(root / "Manually_Annotated_Images" / pictures[0]))[..., ::-1]
    np.testing.assert_array_equal(clipped.images[0], picture[:6, :4])
    picture = cv2.imread(str(root / "Manually_Annotated_Images" / pictures[1]))[..., ::-1]
    assert clipped.facts["sha256"][1] == pixel_sha256(picture[20:, 30:])


def test_seven_classes_lack_contempt_and_nothing_else(tmp_path: Path) -> None:
    for root in (_lists(tmp_path / "lists"), _sets(tmp_path / "sets")):
        eight, seven = affectnet.read(root), affectnet7.read(root)
        assert seven.class_names == NAMES[:7]
        for split in ("train", "validation"):
            expected = [name for name in _named(eight, split) if name != "contempt"]
            assert _named(seven, split) == expected
            eight, seven = affectnet.read(root), affectnet7.read(root)
        assert any("1 contempt" in note for note in seven.notes)
    assert affectnet7.INFO.class_names == NAMES[:7]


def test_the_tenth_of_each_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # 29, 20, 10 and 9 of four classes, mixed, and rows that are no emotion.
    codes = [0] * 29 + [4] * 20 + [7] * 10 + [1] * 9 + [8] * 15
    np.random.default_rng(1).shuffle(codes)
    root = _lists(tmp_path / "data", train=tuple(codes))
    content = affectnet_small.read(root)
    found = _examples(content)
    drawn = found["train"]
    assert Counter(NAMES[e.label] for e in drawn) == {"neutral": 2, "fear": 2, "contempt": 1}
    listed = content.listings["train_pictures"]
    assert listed == tuple(example.source for example in drawn)
    by_source = {e.source: e.label for e in affectnet.read(root).splits["train"]}
    assert [by_source[source] for source in listed] == [e.label for e in drawn]
    assert affectnet_small.read(root).listings == content.listings
    assert len(found["validation"]) == 4
    assert "1 in 10 of each class, drawn with seed 0" in content.notes[0]

    options = ["affectnet_small", "--source", str(root), "--cache-dir", str(tmp_path / "cache")]
    assert main(["prepare", *options]) == 0
    printed = capsys.readouterr().out
    (path,) = read_content(Path(printed.splitlines()[0])).listings
    assert f"Listing: {path}" in printed
    assert path.read_text().splitlines() == list(listed)
    samples = load_samples("affectnet_small", "train", source=root, cache_dir=tmp_path / "cache")
    assert tuple(samples.facts["source"]) == listed


def test_the_draw_of_a_class_does_not_depend_on_the_others() -> None:
    codes = np.repeat(np.int8([0, 1, 2]), [100, 50, 70])
    mask = affectnet_small._draw(codes)
    assert np.bincount(codes[mask]).tolist() == [10, 5, 7]
    fewer = affectnet_small._draw(codes[:150])
    np.testing.assert_array_equal(fewer, mask[:150])
    assert not mask[:10].all()


def test_official_counts() -> None:
    def total(name: str, split: str) -> int:
        return sum(describe(name).official_counts[split].values())

    assert (total("affectnet", "train"), total("affectnet", "validation")) == (287651, 4000)
    assert (total("affectnet7", "train"), total("affectnet7", "validation")) == (283901, 3500)
    assert (total("affectnet_small", "train"), total("affectnet_small", "validation")) == (
        28762,
        4000,
    )
    assert "affectnet_files" not in list_datasets()
    for name in ("affectnet", "affectnet7", "affectnet_small"):
        for code, emotion in describe(name).codes.items():
            assert emotion == NAMES[code]


def test_without_an_emotion() -> None:
    whole = describe("affectnet")
    left = whole.without("contempt")
    assert left.class_names == NAMES[:7]
    assert left.codes == dict(enumerate(NAMES[:7]))
    assert {split: sum(counts.values()) for split, counts in left.official_counts.items()} == {
        "train": 283901,
        "validation": 3500,
    }
    assert left.licence == whole.licence
    assert "contempt" in whole.class_names


def _change_cell(row: int, column: str, text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        with (root / "training.csv").open(newline="") as stream:
            rows = list(csv.reader(stream))
        rows[row][HEADER.index(column)] = text
        _write_list(root / "training.csv", rows[1:])

    return change


def _append(name: str, *cells: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        with (root / name).open("a", newline="") as stream:
            csv.writer(stream).writerow(cells)

    return change


PICTURES = "Manually_Annotated_Images"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: (r / "validation.csv").unlink(), r"validation\.csv: missing\. Both lists"),
        (lambda r: (r / "train_set").mkdir(), r"both releases"),
        (lambda r: (r / "training.csv").write_text("a,b\n"), r"expected a header with the columns"),
        (lambda r: _write_list(r / "training.csv", []), r"training\.csv: no rows"),
        (
            _change_cell(1, "expression", "11"),
            r"training\.csv, row 1: unknown expression code '11'",
        ),
        (_change_cell(2, "expression", ""), r"row 2: could not convert"),
        (_change_cell(1, "valence", "1.5"), r"row 1: expected -1\.\.1, or -2 for none.*'1\.5'"),
        (_change_cell(1, "arousal", "nan"), r"row 1: expected -1\.\.1, or -2 for none.*'nan'"),
        (_change_cell(4, "face_x", "left"), r"row 4: invalid literal.*'left'"),
        (_append("training.csv", "100/t0000.jpg", "1"), r"row 9: expected 9 columns, received 2"),
        (_append("training.csv", *_row("100/x.jpg", 1)), r"row 9: no picture .*/100/x\.jpg"),
        (_append("training.csv", *_row("../a.jpg", 1)), r"row 9: no picture"),
        (
            _append("training.csv", *_row("100/t0000.jpg", 1)),
            r"row 9: .* no earlier row.*100/t0000",
        ),
        (
            _append("training.csv", *_row("102/v0000.jpg", 1)),
            r"row 9: .* no earlier row.*102/v0000",
        ),
        (lambda r: (r / PICTURES / "100" / "t0000.jpg").unlink(), r"row 1: no picture"),
        (lambda r: (r / PICTURES).rename(r / "Pictures"), r"9 faults.*(.|\n)*row 1: no picture"),
    ],
)
def test_wrong_lists_are_refused_by_name(
    tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    root = _lists(tmp_path)
    change(root)
    with pytest.raises(DataError, match=message):
        affectnet.read(root)


ANNOTATIONS = Path("train_set", "annotations")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: (r / "val_set").rename(r / "validation"), r"val_set/images: missing"),
        (lambda r: (r / "train_set/images").rename(r / "images"), r"train_set/images: missing"),
        (lambda r: (r / ANNOTATIONS / "3_exp.npy").unlink(), r"annotations/3_exp\.npy: missing"),
        (lambda r: (r / ANNOTATIONS / "3_aro.npy").unlink(), r"annotations/3_aro\.npy: missing"),
        (
            lambda r: (r / "train_set/images/3.jpg").unlink(),
            r"3_exp\.npy: no picture images/3\.jpg",
        ),
        (lambda r: (r / "train_set/images/a").mkdir(), r"images/a: expected only files of the rel"),
        (lambda r: (r / ANNOTATIONS / "3.txt").touch(), r"annotations/3\.txt: expected only files"),
        (lambda r: np.save(r / ANNOTATIONS / "3_exp.npy", 11), r"3_exp\.npy: unknown .* '11'"),
        (lambda r: np.save(r / ANNOTATIONS / "3_exp.npy", [1, 2]), r"3_exp\.npy: expected one val"),
        (lambda r: (r / ANNOTATIONS / "3_exp.npy").write_bytes(b"x"), r"3_exp\.npy: "),
        (
            lambda r: np.save(r / ANNOTATIONS / "3_exp.npy", np.array({}), allow_pickle=True),
            r"3_exp\.npy: Object arrays cannot be loaded",
        ),
    ],
)
def test_wrong_sets_are_refused_by_name(
    tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    root = _sets(tmp_path)
    change(root)
    with pytest.raises(DataError, match=message):
        affectnet.read(root)


def test_valence_is_read_late_and_refused_by_name(tmp_path: Path) -> None:
    root = _sets(tmp_path / "data")
    np.save(root / "val_set" / "annotations" / "1_val.npy", 3.0)
    affectnet.read(root)
    with pytest.raises(DataError, match=r"val_set/annotations/1_val\.npy: expected -1\.\.1"):
        prepare("affectnet", root, tmp_path / "cache")
    assert list((tmp_path / "cache" / "prepared").iterdir()) == []


def test_very_many_faults_are_counted_and_not_all_shown(tmp_path: Path) -> None:
    root = _lists(tmp_path)
    _write_list(root / "training.csv", [_row(f"100/{n}.jpg", 1) for n in range(70)])
    with pytest.raises(DataError, match=r"70 faults(.|\n)*and 20 more") as caught:
        affectnet.read(root)
    assert len(str(caught.value).splitlines()) == 52


def test_a_prepared_copy_depends_on_lists_and_folders(tmp_path: Path) -> None:
    root = _lists(tmp_path / "lists")
    named = {path.relative_to(root).as_posix() for path in affectnet.source_files(root)}
    assert named == {
        "training.csv",
        "validation.csv",
        *(f"{PICTURES}/{n}" for n in (100, 101, 102)),
    }
    root = _sets(tmp_path / "sets")
    assert sum(1 for _ in affectnet.source_files(root)) == 4
