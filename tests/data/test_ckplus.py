from pathlib import Path

import numpy as np
import pytest
from drawn_trees import pixels, write_ck48, write_ckplus

from fer_keras.common.errors import DataError
from fer_keras.data.datasets.ckplus import INFO
from fer_keras.data.load import describe, load_samples, prepare


def test_first_and_last_three_frames(tmp_path: Path) -> None:
    root = write_ckplus(tmp_path / "ckplus")
    samples = load_samples(
        "ckplus", "train", source=tmp_path, cache_dir=tmp_path / "c", image_size=(6, 8), channels=3
    )
    labels = dict(
        zip(
            [source.split("/")[-1] for source in samples.facts["source"].tolist()],
            [samples.class_names[label] for label in samples.labels],
            strict=True,
        )
    )
    assert labels == {
        "S005_001_00000001.png": "neutral",
        "S005_001_00000004.png": "disgust",
        "S005_001_00000005.png": "disgust",
        "S005_001_00000006.png": "disgust",
        "S010_002_00000001.png": "neutral",
        "S010_002_00000003.png": "surprise",
        "S010_002_00000004.png": "surprise",
        "S010_002_00000005.png": "surprise",
        "S010_004_00000012.png": "neutral",
        "S010_004_00000013.png": "anger",
        "S010_004_00000014.png": "anger",
        "S010_004_00000015.png": "anger",
        "S011_001_00000001.png": "neutral",
        "S011_001_00000002.png": "contempt",
        "S011_001_00000003.png": "contempt",
        "S011_001_00000004.png": "contempt",
        "S011_003_00000001.png": "neutral",
        "S011_003_00000002.png": "fear",
        "S011_003_00000003.png": "fear",
        "S011_003_00000004.png": "fear",
        "S014_002_00000001.png": "neutral",
        "S014_002_00000002.png": "sadness",
        "S014_002_00000003.png": "sadness",
        "S014_002_00000004.png": "sadness",
        # A sequence of three frames: none is used twice.
        "S999_018_00000001.png": "neutral",
        "S999_018_00000002.png": "happiness",
        "S999_018_00000003.png": "happiness",
    }
    assert len(samples) == len(labels) == len(set(samples.facts["sha256"]))
    row = (
        samples.facts["source"].tolist().index("cohn-kanade-images/S010/004/S010_004_00000012.png")
    )
    assert samples.facts["subject"][row] == "S010"
    assert samples.facts["sequence"][row] == "S010_004"
    assert samples.facts["frame"][row] == 12
    assert samples.facts["frame"].dtype == np.int64
    assert samples.facts["phase"][row] == "neutral"
    # Pictures are drawn in order: 6 + 3 + 5 stand before this one.
    np.testing.assert_array_equal(samples.images[row], pixels(14))
    assert samples.notes[1] == "1 sequences without emotion file left out"
    assert (root / "Landmarks").is_dir()


def test_the_repackaging_is_refused_with_a_hint(tmp_path: Path) -> None:
    write_ck48(tmp_path / "CK+48")
    with pytest.raises(DataError, match=r"CK\+48, which holds peak frames only.*ckplus7"):
        prepare("ckplus", tmp_path, tmp_path / "cache")


def test_info() -> None:
    info = describe("ckplus")
    assert info.codes == {
        0: "neutral",
        1: "anger",
        2: "contempt",
        3: "disgust",
        4: "fear",
        5: "happiness",
        6: "sadness",
        7: "surprise",
    }
    # Labelled sequences of the release, each with one neutral and three peak frames.
    sequences = {
        "anger": 45,
        "contempt": 18,
        "disgust": 59,
        "fear": 25,
        "happiness": 69,
        "sadness": 28,
        "surprise": 83,
    }
    counts = INFO.official_counts["train"]
    assert counts == {"neutral": 327} | {name: 3 * n for name, n in sequences.items()}
    assert sum(counts.values()) == 1308


def test_the_neutral_picture_of_esr_is_the_fourth_from_the_end(tmp_path: Path) -> None:
    write_ckplus(tmp_path / "ckplus")
    samples = load_samples("ckplus_esr", "train", source=tmp_path, cache_dir=tmp_path / "c")
    names = [source.split("/")[-1] for source in samples.facts["source"].tolist()]
    neutral = [name for name, label in zip(names, samples.labels, strict=True) if label == 0]
    # Of six frames the third, of five the second, of four and three the first.
    assert neutral == [
        "S005_001_00000003.png",
        "S010_002_00000002.png",
        "S010_004_00000012.png",
        "S011_001_00000001.png",
        "S011_003_00000001.png",
        "S014_002_00000001.png",
        "S999_018_00000001.png",
    ]
    assert samples.class_counts()["disgust"] == 3
    assert len(samples) == 27
