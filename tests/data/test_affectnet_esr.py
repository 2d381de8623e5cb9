from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.data.datasets import affectnet_esr
from fer_keras.data.datasets.affectnet_esr import INFO, find, read, source_files
from fer_keras.data.load import find_source, load_samples
from fer_keras.data.samples import Example

# Folder -> file name -> emotion; the numbers of the folders are not those of the classes.
TRAIN = {
    "0/0000000s7s-653s653.jpg": "contempt",
    "0/0000001s0s0s-20.jpg": "neutral",
    "2/0001000s3s120s900.jpg": "surprise",
    "2/0001001s6s-1000s1000.jpg": "anger",
    "10/0005000s1s800s-2000.jpg": "happiness",
}
VALIDATION = {"0/0000000s2s-500s-250.jpg": "sadness", "1/0000500s4s-99s500.jpg": "fear"}
NOT_EMOTIONS = (
    "0/0000002s8s0s0.jpg",
    "2/0001002s10s-2000s-2000.jpg",
    "2/0001003s10s-2000s-2000.jpg",
)


def _draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), image)


def _repack(root: Path) -> Path:
    for seed, name in enumerate([*TRAIN, *NOT_EMOTIONS]):
        _draw(root / "Training_Labeled" / name, seed)
    for seed, name in enumerate(VALIDATION, start=100):
        _draw(root / "Validation" / name, seed)
    return root


def _examples(root: Path) -> dict[str, list[Example]]:
    return {split: list(examples) for split, examples in read(root).splits.items()}


def test_every_file_gets_its_label_by_name(tmp_path: Path) -> None:
    root = _repack(tmp_path / "affectnet_esr")
    assert find(tmp_path) == find(root) == root
    found = _examples(root)
    # Folder 10 stands after 2.
    assert [e.source for e in found["train"]] == [f"Training_Labeled/{name}" for name in TRAIN]
    assert [e.source for e in found["validation"]] == [f"Validation/{name}" for name in VALIDATION]
    for examples, expected in ((found["train"], TRAIN), (found["validation"], VALIDATION)):
        names = [INFO.class_names[example.label] for example in examples]
        assert names == list(expected.values())
    assert found["train"][0].image == root / "Training_Labeled" / "0" / "0000000s7s-653s653.jpg"


def test_valence_and_arousal(tmp_path: Path) -> None:
    found = _examples(_repack(tmp_path))["train"]
    assert found[0].attributes == {"valence": -0.653, "arousal": 0.653}
    assert found[1].attributes == {"valence": 0.0, "arousal": -0.02}
    assert found[3].attributes == {"valence": -1.0, "arousal": 1.0}
    assert found[4].attributes["valence"] == 0.8
    assert np.isnan(found[4].attributes["arousal"])


def test_prepared_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _repack(tmp_path / "data" / "affectnet_esr")
    _draw(root / "Training_Unlabeled" / "0" / "0000000s5s0s0.jpg", 0)
    monkeypatch.setenv("FER_KERAS_DATA", str(tmp_path / "data"))
    assert find_source("affectnet_esr") == root
    options = {"cache_dir": tmp_path / "cache", "image_size": 8, "channels": 3}
    train = load_samples("affectnet_esr", "train", **options)
    names = [train.class_names[label] for label in train.labels]
    assert names == list(TRAIN.values())
    picture = cv2.imread(str(root / "Training_Labeled" / "10" / "0005000s1s800s-2000.jpg"))
    np.testing.assert_array_equal(train.images[4], picture[..., ::-1])
    np.testing.assert_allclose(train.facts["valence"], [-0.653, 0, 0.12, -1, 0.8], atol=1e-6)
    assert train.notes[1] == "train: left out 1 none, 2 no face"
    assert train.notes[2].startswith("Training_Unlabeled not read")
    validation = load_samples("affectnet_esr", "validation", **options)
    assert len(validation) == 2
    assert not set(train.facts["sha256"]) & set(validation.facts["sha256"])
    with pytest.raises(DataError, match="no public test set"):
        load_samples("affectnet_esr", "test", **options)


def test_official_counts() -> None:
    totals = {split: sum(counts.values()) for split, counts in INFO.official_counts.items()}
    assert totals == {"train": 287651, "validation": 4000}


def test_a_prepared_copy_depends_on_the_numbered_folders(tmp_path: Path) -> None:
    root = _repack(tmp_path)
    named = [path.relative_to(root).as_posix() for path in source_files(root)]
    assert named == [
        *(f"Training_Labeled/{number}" for number in (0, 2, 10)),
        *(f"Validation/{number}" for number in (0, 1)),
    ]


LABELED = Path("Training_Labeled")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: (r / "Validation").rename(r / "Val"), r"Validation: missing"),
        (lambda r: (r / "Test").mkdir(), r"Test: expected only the folders Training_Labeled"),
        (lambda r: (r / LABELED / "happy").mkdir(), r"happy: expected only folders 0, 1, 2"),
        (lambda r: (r / LABELED / "stray").mkdir(), r"stray: expected only folders"),
        (lambda r: (r / LABELED / "3").mkdir(), r"Training_Labeled/3: empty"),
        (lambda r: (r / LABELED / "2/stray.db").touch(), r"2/stray\.db: expected a name like 00"),
        (
            lambda r: _draw(r / LABELED / "2/0000001_7s-653_653.jpg", 0),
            r"2/0000001_7s-653_653\.jpg: expected a name like 0000000s7s-653s653\.jpg",
        ),
        (lambda r: _draw(r / LABELED / "2/0000009s11s0s0.jpg", 0), r"unknown expression code 11"),
        (lambda r: _draw(r / LABELED / "2/0000009s1s0s1001.jpg", 0), r"expected -1\.\.1, or -2"),
    ],
)
def test_wrong_layouts_are_refused_by_name(
    tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    root = _repack(tmp_path)
    change(root)
    with pytest.raises(DataError, match=message):
        read(root)


def test_every_fault_is_listed_at_once(tmp_path: Path) -> None:
    root = _repack(tmp_path)
    (root / "Test").mkdir()
    (root / LABELED / "3").mkdir()
    with pytest.raises(DataError, match=r"2 faults(.|\n)*3: empty(.|\n)*Test: expected"):
        read(root)


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert find(tmp_path) is None
    (tmp_path / "list.txt").touch()
    with pytest.raises(DataError, match="Training_Labeled: missing"):
        read(tmp_path / "list.txt")


def test_names_as_the_description_of_the_repack_has_them() -> None:
    for name in ("0000000s7s-653s653.jpg", "0000000_7_-653_653.jpg"):
        code, attributes = affectnet_esr._parse(name)
        assert code == 7
        assert attributes == pytest.approx({"valence": -0.653, "arousal": 0.653})
