from pathlib import Path

import numpy as np
from drawn_trees import pixels, write_ck48, write_ckplus

from fer_keras.data.datasets.ckplus7 import read
from fer_keras.data.load import describe, load_samples


def test_the_repackaging(tmp_path: Path) -> None:
    write_ck48(tmp_path / "ckplus" / "CK+48")
    samples = load_samples(
        "ckplus7", "train", source=tmp_path, cache_dir=tmp_path / "c", image_size=(6, 8), channels=3
    )
    names = [samples.class_names[label] for label in samples.labels]
    assert dict(zip(samples.facts["source"].tolist(), names, strict=True)) == {
        f"{folder}/S{subject:03}_{sequence:03}_{frame:08}.png": name
        for folder, subject, sequence, name in (
            ("anger", 10, 1, "anger"),
            ("contempt", 10, 2, "contempt"),
            ("disgust", 11, 3, "disgust"),
            ("fear", 11, 4, "fear"),
            ("happy", 12, 5, "happiness"),
            ("sadness", 12, 6, "sadness"),
            ("surprise", 13, 7, "surprise"),
        )
        for frame in (15, 16, 17)
    }
    row = samples.facts["source"].tolist().index("happy/S012_005_00000016.png")
    np.testing.assert_array_equal(samples.images[row], pixels(416))
    facts = {name: samples.facts[name][row] for name in ("subject", "sequence", "frame", "phase")}
    assert facts == {"subject": "S012", "sequence": "S012_005", "frame": 16, "phase": "peak"}
    assert samples.notes == ("CK+48: faces cut to 48 x 48 pixels by its maker",)


def test_the_raw_layout(tmp_path: Path) -> None:
    content = read(write_ckplus(tmp_path))
    examples = list(content.splits["train"])
    assert [
        (example.source.split("/")[-1], content.class_names[example.label]) for example in examples
    ][:6] == [
        ("S005_001_00000004.png", "disgust"),
        ("S005_001_00000005.png", "disgust"),
        ("S005_001_00000006.png", "disgust"),
        ("S010_002_00000003.png", "surprise"),
        ("S010_002_00000004.png", "surprise"),
        ("S010_002_00000005.png", "surprise"),
    ]
    assert len(examples) == 6 * 3 + 2
    assert {example.attributes["phase"] for example in examples} == {"peak"}
    assert {example.subject for example in examples} == {"S005", "S010", "S011", "S014", "S999"}


def test_info() -> None:
    info = describe("ckplus7")
    assert info.codes[7] == "surprise"
    assert 0 not in info.codes
    assert info.official_counts["train"] == {
        "anger": 135,
        "contempt": 54,
        "disgust": 177,
        "fear": 75,
        "happiness": 207,
        "sadness": 84,
        "surprise": 249,
    }
