from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.data.datasets.rafdb import INFO, find, read
from fer_keras.data.load import find_source, load_samples
from fer_keras.data.samples import Example, pixel_sha256

# As in the release: five digits in train, four in test.
LINES = {
    "train_00001.jpg": 5,
    "train_00002.jpg": 1,
    "train_00003.jpg": 7,
    "train_00004.jpg": 3,
    "train_00005.jpg": 4,
    "test_0001.jpg": 6,
    "test_0002.jpg": 2,
}
NAMES = {1: "surprise", 2: "fear", 3: "disgust", 4: "happiness", 5: "sadness", 6: "anger"}
NAMES |= {7: "neutral"}
# The README of MA-Net's data: folders 0..6.
FOLDERS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
LANDMARKS = "31.5\t40.25\n70\t41\n50\t60\n35\t80\n66\t81\n"


def _draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), image)


def _release(data: Path, with_attributes: bool = True) -> Path:
    basic = data / "rafdb" / "basic"
    (basic / "EmoLabel").mkdir(parents=True)
    lines = [f"{name} {code}\n" for name, code in LINES.items()]
    (basic / "EmoLabel" / "list_patition_label.txt").write_text("".join(lines))
    for seed, name in enumerate(LINES):
        _draw(basic / "Image" / "aligned" / name.replace(".jpg", "_aligned.jpg"), seed)
        if with_attributes:
            path = basic / "Annotation" / "manual" / name.replace(".jpg", "_manu_attri.txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{LANDMARKS}{seed % 3}\n{(seed + 1) % 3}\n{seed % 5}\n")
    return basic


def _folders(root: Path, numbers: range, sizes: dict[int, int] | None = None) -> Path:
    for split in ("train", "test"):
        for number in numbers:
            for place in range((sizes or {}).get(number, 2)):
                _draw(root / split / str(number) / f"{split}_{number}{place}_aligned.jpg", place)
    return root


def _examples(root: Path) -> dict[str, list[Example]]:
    return {split: list(examples) for split, examples in read(root).splits.items()}


def test_every_file_of_the_release_gets_its_label_by_name(tmp_path: Path) -> None:
    basic = _release(tmp_path)
    assert find(tmp_path) == find(tmp_path / "rafdb") == find(basic) == basic
    found = _examples(basic)
    assert {split: len(examples) for split, examples in found.items()} == {"train": 5, "test": 2}
    for split, examples in found.items():
        for example in examples:
            name = Path(example.source).name.replace("_aligned", "")
            assert name.startswith(split)
            assert INFO.class_names[example.label] == NAMES[LINES[name]]
            assert example.image == basic / "Image" / "aligned" / Path(example.source).name
    assert dict(INFO.codes) == NAMES
    assert not {e.source for e in found["train"]} & {e.source for e in found["test"]}


def test_attributes_are_names(tmp_path: Path) -> None:
    content = read(_release(tmp_path))
    assert content.notes == ()
    first, second, third, *_ = content.splits["train"]
    assert first.attributes == {
        "gender": "male",
        "race": "African-American",
        "age_group": "0-3",
        "original_landmarks": "31.5 40.25 70 41 50 60 35 80 66 81",
    }
    assert (second.attributes["gender"], second.attributes["race"]) == ("female", "Asian")
    assert (third.attributes["gender"], third.attributes["race"]) == ("unsure", "Caucasian")
    assert (second.attributes["age_group"], third.attributes["age_group"]) == ("4-19", "20-39")
    assert [example.attributes["age_group"] for example in content.splits["test"]] == [
        "0-3",
        "4-19",
    ]


def test_prepared_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    basic = _release(tmp_path / "data")
    monkeypatch.setenv("FER_KERAS_DATA", str(tmp_path / "data"))
    assert find_source("rafdb") == basic
    samples = load_samples("rafdb", "train", cache_dir=tmp_path, image_size=6, channels=3)
    assert samples.class_counts() == {
        "surprise": 1,
        "fear": 0,
        "disgust": 1,
        "happiness": 1,
        "sadness": 1,
        "anger": 0,
        "neutral": 1,
    }
    assert samples.facts["age_group"].tolist() == ["0-3", "4-19", "20-39", "40-69", "70+"]
    pixels = cv2.imread(str(basic / "Image" / "aligned" / "train_00001_aligned.jpg"))[..., ::-1]
    np.testing.assert_array_equal(samples.images[0], pixels)
    assert samples.facts["sha256"][0] == pixel_sha256(pixels)
    with pytest.raises(DataError, match="no validation split"):
        load_samples("rafdb", "validation", cache_dir=tmp_path)


def test_without_manual_annotations_attributes_are_unknown(tmp_path: Path) -> None:
    content = read(_release(tmp_path, with_attributes=False))
    assert "age group, gender and race are unknown" in content.notes[0]
    for example in content.splits["train"]:
        assert example.attributes == dict.fromkeys(INFO.attributes, "")


@pytest.mark.parametrize(
    ("numbers", "place", "expected"),
    [
        (range(7), "rafdb", dict(enumerate(FOLDERS))),
        (range(1, 8), "rafdb/DATASET", NAMES),
    ],
)
def test_numbered_folders(
    tmp_path: Path, numbers: range, place: str, expected: dict[int, str]
) -> None:
    root = _folders(tmp_path / place, numbers)
    if place.endswith("DATASET"):
        (tmp_path / "rafdb" / "train_labels.csv").write_text("image,label\n")
    assert find(tmp_path) == find(tmp_path / "rafdb") == root
    found = _examples(root)
    assert {split: len(examples) for split, examples in found.items()} == {"train": 14, "test": 14}
    for split, examples in found.items():
        for example in examples:
            folder, number, _ = example.source.split("/")
            assert folder == split
            assert INFO.class_names[example.label] == expected[int(number)]


def test_folders_with_the_official_sizes_of_another_order_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = dict(zip(INFO.class_names, range(1, 8), strict=True))
    monkeypatch.setitem(INFO.official_counts, "train", sizes)
    read(_folders(tmp_path / "a", range(1, 8), {code: code for code in range(1, 8)}))
    manet = {number: sizes[name] for number, name in enumerate(FOLDERS)}
    read(_folders(tmp_path / "b", range(7), manet))
    # The official codes minus 1, which folders 0..6 are not read as.
    root = _folders(tmp_path / "c", range(7), {code - 1: code for code in range(1, 8)})
    with pytest.raises(
        DataError, match=r"official sizes of surprise, .*, not of neutral, .*1 surp"
    ):
        read(root)


def test_official_counts() -> None:
    totals = {split: sum(counts.values()) for split, counts in INFO.official_counts.items()}
    assert totals == {"train": 12271, "test": 3068}
    assert INFO.official_counts["train"]["happiness"] == 4772
    assert INFO.official_counts["test"]["neutral"] == 680


LIST = "EmoLabel/list_patition_label.txt"
MANUAL = "Annotation/manual/train_00002_manu_attri.txt"


def _append(line: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        with (root / LIST).open("a") as stream:
            stream.write(line + "\n")

    return change


def _remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def _write(name: str, text: str) -> Callable[[Path], None]:
    return lambda root: (root / name).write_text(text) and None


def _rename(name: str, to: str) -> Callable[[Path], None]:
    return lambda root: (root / name).rename(root / to) and None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_remove(LIST), r"list_patition_label\.txt: missing"),
        (_rename("Image/aligned", "Image/faces"), r"Image/aligned: missing"),
        (_append("train_00006.jpg 8"), r"line 8: unknown code 8, expected 1\.\.7"),
        (_append("train_00006.jpg 0"), r"line 8: unknown code 0"),
        (_append("train_00006.jpg 1"), r"line 8: no such picture: .*train_00006_aligned\.jpg"),
        (_append("train_00001.jpg 1"), r"line 8: stands in an earlier line too"),
        (_append("valid_00001.jpg 1"), r"line 8: expected 'train_00001\.jpg 5', received 'valid"),
        (_write(LIST, "train_00001.jpg 5\n"), r"no pictures of test"),
        (_write("Image/aligned/stray.db", "x"), r"aligned/stray\.db: not in list_patition"),
        (_remove("Image/aligned/test_0002_aligned.jpg"), r"line 7: no such picture"),
        (_remove(MANUAL), r"train_00002_manu_attri\.txt: missing"),
        (_write(MANUAL, LANDMARKS + "0\n3\n1\n"), r"train_00002_manu_attri\.txt: expected 5"),
        (_write(MANUAL, LANDMARKS + "0\n1\n"), r"train_00002_manu_attri\.txt: expected 5"),
        (_write(MANUAL, "nan " + LANDMARKS[5:] + "0 1 1"), r"train_00002_manu_attri\.txt: expec"),
    ],
)
def test_wrong_releases_are_refused_by_name(
    tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    basic = _release(tmp_path)
    change(basic)
    root = find(tmp_path)
    assert root == basic
    with pytest.raises(DataError, match=message):
        read(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: _draw(r / "train" / "7" / "1.jpg", 0), r"folders 0 and 7: either 0\.\.6 or 1"),
        (
            lambda r: _draw(r / "test" / "9" / "1.jpg", 0),
            r"test/9: expected only the folders 0\.\.6",
        ),
        (lambda r: _draw(r / "test" / "happy" / "1.jpg", 0), r"test/happy: expected only"),
        (lambda r: (r / "train" / "stray").mkdir(), r"train/stray: expected only"),
        (lambda r: (r / "valid").mkdir(), r"valid: expected only the folders train and test"),
        (lambda r: (r / "test" / "3").rename(r / "test" / "03"), r"test/3: missing"),
        (lambda r: (r / "test").rename(r / "train" / "test"), r"test: missing"),
        (lambda r: (r / "train" / "2" / "a.txt").write_text("x"), r"2/a\.txt: not a picture"),
        (lambda r: [p.unlink() for p in (r / "train" / "4").iterdir()], r"train/4: empty"),
    ],
)
def test_wrong_folders_are_refused_by_name(
    tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    root = _folders(tmp_path / "rafdb", range(7))
    change(root)
    assert find(tmp_path) == root
    with pytest.raises(DataError, match=message):
        read(root)


def test_splits_in_different_orders_are_refused(tmp_path: Path) -> None:
    root = _folders(tmp_path, range(7))
    for number in range(7, 0, -1):
        (root / "test" / str(number - 1)).rename(root / "test" / str(number))
    with pytest.raises(DataError, match="folders 0 and 7"):
        read(root)


def test_other_folders_are_not_taken_for_it(tmp_path: Path) -> None:
    _draw(tmp_path / "train" / "happy" / "1.jpg", 0)
    _draw(tmp_path / "test" / "happy" / "1.jpg", 0)
    assert find(tmp_path) is None
    for source in (tmp_path, tmp_path / "train" / "happy" / "1.jpg"):
        with pytest.raises(DataError, match="expected the folders EmoLabel and Image, or train/1"):
            read(source)
