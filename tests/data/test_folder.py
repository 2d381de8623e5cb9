from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.common.labels import EMOTIONS
from fer_keras.data.__main__ import main
from fer_keras.data.datasets.class_folders import write_label_order
from fer_keras.data.datasets.folder import read
from fer_keras.data.load import find_source, load_samples, prepare


def _draw(path: Path, seed: int, size: tuple[int, int] = (20, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), image)


def _divided(root: Path) -> Path:
    seed = 0
    for split, count in (("train", 3), ("val", 2), ("test", 2)):
        for name in ("Happy", "angry", "neutral"):
            for number in range(count):
                _draw(root / split / name / f"{number}.png", seed)
                seed += 1
    return root


def _undivided(root: Path, count: int = 20) -> Path:
    for label, name in enumerate(("happiness", "sadness")):
        for number in range(count):
            _draw(root / name / f"{number:02}.png", 1000 * label + number)
    return root


def test_divided_folders(tmp_path: Path) -> None:
    root = _divided(tmp_path / "pictures")
    samples = load_samples(
        "folder", "train", source=root, cache_dir=tmp_path / "cache", image_size=48, channels=3
    )
    assert samples.class_names == ("neutral", "happiness", "anger")
    assert samples.images.shape == (9, 48, 48, 3)
    assert samples.class_counts() == {"neutral": 3, "happiness": 3, "anger": 3}
    first = samples.facts["source"].tolist().index("train/Happy/0.png")
    assert samples.class_names[samples.labels[first]] == "happiness"
    assert samples.notes == ()
    test = load_samples("folder", "test", source=root, cache_dir=tmp_path / "cache")
    assert test.images.shape == (6, 48, 48, 1)


def test_native_pixels_survive_every_format(tmp_path: Path) -> None:
    for name in ("happy", "sad"):
        for number, suffix in enumerate((".png", ".bmp", ".jpg", ".webp", ".jpeg") * 2):
            _draw(tmp_path / "in" / name / f"{number}{suffix}", number, (48, 48))
    options = {"source": tmp_path / "in", "cache_dir": tmp_path / "cache", "channels": 3}
    found = {}
    for split in ("train", "validation", "test"):
        samples = load_samples("folder", split, **options)
        found.update(zip(samples.facts["source"].tolist(), samples.images, strict=True))
    assert len(found) == 20
    for source, pixels in found.items():
        original = cv2.imread(str(tmp_path / "in" / source))[..., ::-1]
        np.testing.assert_array_equal(pixels, original, err_msg=source)


def test_an_undivided_folder_is_cut_in_three(tmp_path: Path) -> None:
    root = _undivided(tmp_path / "pictures")
    # Exact copies: a cut between them would leak.
    for number in range(5):
        _draw(root / "happiness" / f"copy{number}.png", number)
    splits = {
        split: load_samples("folder", split, source=root, cache_dir=tmp_path / "cache")
        for split in ("train", "validation", "test")
    }
    sizes = {split: len(samples) for split, samples in splits.items()}
    assert sum(sizes.values()) == 45
    assert 3 <= sizes["validation"] <= 6
    assert 3 <= sizes["test"] <= 6
    hashes = [set(samples.facts["sha256"]) for samples in splits.values()]
    assert len(set.union(*hashes)) == sum(len(found) for found in hashes) == 40
    assert all(min(samples.class_counts().values()) > 0 for samples in splits.values())
    assert any("cut with seed" in note for note in splits["test"].notes)
    again = [example.source for example in read(root).splits["test"]]
    assert again == splits["test"].facts["source"].tolist()


def test_a_missing_validation_folder_is_cut_from_train(tmp_path: Path) -> None:
    _undivided(tmp_path / "train")
    content = read(tmp_path)
    assert {split: len(list(found)) for split, found in content.splits.items()} == {
        "train": 36,
        "validation": 4,
    }
    assert content.notes == ("validation: 10% of train, cut with seed 0", "no test folder")


def test_classes_of_ones_own_stand_behind_the_emotions(tmp_path: Path) -> None:
    for label, name in enumerate(("Drowsy", "happy", "circle", "eyes closed")):
        for number in range(10):
            _draw(tmp_path / name / f"{number}.png", 100 * label + number)
    content = read(tmp_path)
    assert content.class_names == ("happiness", "circle", "drowsy", "eyes closed")
    assert "classes of your own: circle, drowsy, eyes closed" in content.notes[0]


@pytest.mark.parametrize("name", ["score", "7", "1-2"])
def test_names_that_cannot_be_classes_are_refused(tmp_path: Path, name: str) -> None:
    root = _undivided(tmp_path)
    _draw(root / name / "1.png", 0)
    with pytest.raises(DataError, match=rf"{name}: .*Rename it"):
        read(root)


def _add_macosx(root: Path) -> None:
    _draw(root / "train" / "__MACOSX" / "1.png", 0)


def _add_macosx_at_root(root: Path) -> None:
    (root / "__MACOSX").mkdir()


def _add_empty(root: Path) -> None:
    for split in ("train", "val", "test"):
        (root / split / "sad").mkdir()


def _add_nested(root: Path) -> None:
    _draw(root / "train" / "neutral" / "more" / "1.png", 0)


def _remove_class(root: Path) -> None:
    for path in (root / "test" / "angry").iterdir():
        path.unlink()
    (root / "test" / "angry").rmdir()


def _add_stray_file(root: Path) -> None:
    (root / "train" / "neutral" / "Thumbs.db").write_bytes(b"x")


def _add_file_beside_classes(root: Path) -> None:
    (root / "val" / "labels.txt").write_text("x")


def _add_unknown_class(root: Path) -> None:
    _draw(root / "train" / "boredom" / "1.png", 0)


def _add_second_spelling(root: Path) -> None:
    _draw(root / "train" / "happiness" / "1.png", 0)


def _add_second_split(root: Path) -> None:
    _draw(root / "validation" / "angry" / "1.png", 0)


def _number_classes(root: Path) -> None:
    (root / "train" / "angry").rename(root / "train" / "4")


def _remove_train(root: Path) -> None:
    (root / "train").rename(root / "testing")
    (root / "test").rename(root / "val" / "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_add_empty, r"train/sad: empty"),
        (_add_nested, r"train/neutral/more: a folder inside"),
        (_remove_class, r"test: no folder for anger, which another split has"),
        (_add_file_beside_classes, r"val/labels\.txt: expected only folders"),
        (_add_unknown_class, r"validation: no folder for boredom, which another split has"),
        (_add_second_spelling, r"train/happiness: a second folder for happiness"),
        (_add_second_split, r"validation: a second folder for the split validation"),
        (_number_classes, r"train/4: a number is no name of a class"),
        (_remove_train, r"train: missing"),
    ],
)
def test_wrong_layouts_are_refused_by_name(
    tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    root = _divided(tmp_path)
    change(root)
    with pytest.raises(DataError, match=message):
        read(root)


def test_every_fault_is_listed_at_once(tmp_path: Path) -> None:
    root = _divided(tmp_path)
    _add_unknown_class(root)
    _add_file_beside_classes(root)
    with pytest.raises(DataError, match=r"3 faults(.|\n)*labels\.txt(.|\n)*boredom"):
        read(root)


def test_what_systems_leave_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = _divided(tmp_path)
    before = {split: len(list(found)) for split, found in read(root).splits.items()}
    _add_macosx(root)
    _add_macosx_at_root(root)
    _add_stray_file(root)
    (root / ".DS_Store").write_bytes(b"x")
    (root / "train" / "neutral" / "._0.png").write_bytes(b"x")
    assert {split: len(list(found)) for split, found in read(root).splits.items()} == before
    assert "passed over: .DS_Store, __MACOSX in" in caplog.text


def test_every_unreadable_picture_is_listed(tmp_path: Path) -> None:
    root = _divided(tmp_path / "pictures")
    (root / "train" / "angry" / "0.png").write_bytes(b"not a picture")
    whole = (root / "val" / "neutral" / "1.png").read_bytes()
    (root / "val" / "neutral" / "1.png").write_bytes(whole[:-100])
    cache = tmp_path / "cache"
    with pytest.raises(DataError, match=r"2 pictures .* cannot be used") as caught:
        prepare("folder", root, cache)
    assert "train/angry/0.png" in str(caught.value)
    assert "val/neutral/1.png" in str(caught.value)
    assert list((cache / "prepared").iterdir()) == []


def test_a_split_of_nothing_but_bad_pictures_is_listed_too(tmp_path: Path) -> None:
    root = _divided(tmp_path / "pictures")
    for path in (root / "test").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"6 pictures .* cannot be used"):
        prepare("folder", root, tmp_path / "cache")


def test_the_source_must_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FER_KERAS_DATA", str(tmp_path))
    assert find_source("folder") is None
    with pytest.raises(DataError, match="a path that you name as source"):
        prepare("folder")


def test_what_crop_has_written_is_taken_as_it_is(tmp_path: Path) -> None:
    _undivided(tmp_path / "faces" / "pictures")
    (tmp_path / "faces" / "crops.csv").write_text("path\n")
    samples = load_samples(
        "folder", "train", source=tmp_path / "faces", cache_dir=tmp_path / "cache"
    )
    assert samples.class_names == ("happiness", "sadness")
    # A class may be called pictures: only beside crops.csv it is what the command has made.
    _draw(tmp_path / "own" / "pictures" / "1.png", 1)
    assert find_source("folder", tmp_path / "own") == tmp_path / "own"


def _numbered(root: Path, splits: tuple[str, ...] = ("train", "val"), first: int = 0) -> Path:
    for split in splits:
        for number in range(8):
            for i in range(2):
                seed = 100 * len(split) + 10 * number + i
                _draw(root / split / str(number + first) / f"{i}.png", seed)
    return root


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_get_their_names(tmp_path: Path, first: int) -> None:
    root = _numbered(tmp_path / "pictures", first=first)
    words = ["prepare", "folder", "--source", str(root), "--cache-dir", str(tmp_path / "cache")]
    assert main([*words, "--labels", "affectnet8"]) == 0
    samples = load_samples("folder", "validation", source=root, cache_dir=tmp_path / "cache")
    assert samples.class_names == EMOTIONS
    by_number = dict(zip(samples.facts["source"].tolist(), samples.labels, strict=True))
    assert EMOTIONS[by_number[f"val/{2 + first}/0.png"]] == "sadness"
    assert EMOTIONS[by_number[f"val/{7 + first}/1.png"]] == "contempt"
    # What stands there is not replaced by another order.
    with pytest.raises(DataError, match="another order is there already"):
        write_label_order(root, "surprise,fear")


def test_numbers_of_an_undivided_folder(tmp_path: Path) -> None:
    for number in range(3):
        for i in range(10):
            _draw(tmp_path / str(number) / f"{i}.png", 100 * number + i)
    write_label_order(tmp_path, "Angry, drowsy, happy")
    content = read(tmp_path)
    assert content.class_names == ("happiness", "anger", "drowsy")
    assert content.notes[0].endswith("0 anger, 1 drowsy, 2 happiness")


@pytest.mark.parametrize("labels", ["ferplus", "a,b,a", "happy"])
def test_order_that_is_none_is_refused(tmp_path: Path, labels: str) -> None:
    with pytest.raises(DataError, match=r"--labels: expected affectnet7, affectnet8, fer2013, or"):
        write_label_order(tmp_path, labels)


def test_order_of_another_length_is_refused(tmp_path: Path) -> None:
    root = _numbered(tmp_path)
    write_label_order(root, "affectnet7")
    with pytest.raises(DataError, match=r"names 7 classes: expected the folders 0 to 6, or 1 to 7"):
        read(root)


def test_folder_without_a_number_is_refused(tmp_path: Path) -> None:
    root = _numbered(tmp_path)
    write_label_order(root, "affectnet8")
    (root / "val" / "7").rename(root / "val" / "other")
    with pytest.raises(DataError, match="Received: 0, 1, 2, 3, 4, 5, 6, 7, other"):
        read(root)


def test_labels_are_of_folders_alone() -> None:
    with pytest.raises(DataError, match=r"--labels: expected the data set `folder`"):
        main(["prepare", "ferplus", "--labels", "affectnet8"])
