from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn_trees import draw, pixels

from fer_keras.common.errors import DataError
from fer_keras.data.datasets.ctbc import find, read
from fer_keras.data.load import is_available, load_samples

LABELS = """\
1 -> happy
2 -> sadness

03 -> Neutral
4 -> anger
5 -> fear
6 -> disgust
7 -> surprised
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two subjects, three labels, three cameras in every spelling of the file name."""
    root = tmp_path / "ctbc"
    draw(root / "anna" / "1" / "0001_cam1.png", 1)
    draw(root / "anna" / "1" / "0001_cam2.png", 2)
    draw(root / "anna" / "1" / "anna_CAM2_0002.jpg", 3)
    draw(root / "anna" / "03" / "cam2_0001.png", 4)
    draw(root / "ben" / "2" / "0001_cam12.png", 5)
    draw(root / "ben" / "2" / "0001_cam2.png", 6)
    (root / "labels.txt").write_text(LABELS)
    return root


def test_only_the_frontal_camera_is_used(root: Path, tmp_path: Path) -> None:
    samples = load_samples(
        "ctbc", "train", source=tmp_path, cache_dir=tmp_path / "c", image_size=(6, 8), channels=3
    )
    assert samples.class_names == (
        "neutral",
        "happiness",
        "surprise",
        "sadness",
        "anger",
        "disgust",
        "fear",
    )
    facts = zip(
        samples.facts["source"].tolist(),
        [samples.class_names[label] for label in samples.labels],
        samples.facts["subject"].tolist(),
        strict=True,
    )
    assert list(facts) == [
        ("anna/03/cam2_0001.png", "neutral", "anna"),
        ("anna/1/0001_cam2.png", "happiness", "anna"),
        ("anna/1/anna_CAM2_0002.jpg", "happiness", "anna"),
        ("ben/2/0001_cam2.png", "sadness", "ben"),
    ]
    assert samples.facts["camera"].tolist() == [2, 2, 2, 2]
    np.testing.assert_array_equal(samples.images[3], pixels(6))
    assert samples.notes == ("2 pictures of other cameras left out",)


def test_where_it_is_found(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(tmp_path) == find(root) == root
    assert find(tmp_path / "elsewhere") is None
    assert not is_available("ctbc")
    monkeypatch.setenv("FER_KERAS_DATA", str(tmp_path))
    assert is_available("ctbc")


def _rewrite(old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        assert old in LABELS
        (root / "labels.txt").write_text(LABELS.replace(old, new))

    return change


def _remove_labels(root: Path) -> None:
    (root / "labels.txt").unlink()


def _add_picture(place: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        draw(root / place, 9)

    return change


def _add_file(root: Path) -> None:
    (root / "ben" / "notes.txt").write_text("x")


def _add_text_among_pictures(root: Path) -> None:
    (root / "ben" / "2" / "0001_cam2.txt").write_text("x")


def _add_empty_subject(root: Path) -> None:
    (root / "carl").mkdir()


def _only_other_cameras(root: Path) -> None:
    for path in root.rglob("*.*"):
        if "cam2" in path.name.lower():
            path.rename(path.with_name(path.name.lower().replace("cam2", "cam3")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_remove_labels, r"labels\.txt: missing"),
        (_rewrite("7 -> surprised\n", ""), r"labels\.txt: expected 7 lines, found 6"),
        (
            _rewrite("4 -> anger", "4 anger"),
            r"labels\.txt, line 5: expected folder name -> emotion",
        ),
        (_rewrite("4 -> anger", "4 -> boredom"), r"labels\.txt, line 5: Unknown emotion 'boredom'"),
        (_rewrite("4 -> anger", "4 -> happiness"), r"line 5: 4 or happiness is named twice"),
        (_rewrite("4 -> anger", "1 -> anger"), r"line 5: 1 or anger is named twice"),
        (_rewrite("2 -> ", "8 -> "), r"ben/2: expected only folders that labels\.txt names.*1, 8"),
        (_add_picture("ben/boredom/1_cam2.png"), r"ben/boredom: expected only folders that labels"),
        (_add_picture("ben/1/0001.png"), r"ben/1/0001\.png: expected one camera number.*found 0"),
        (_add_picture("ben/1/1_2_3.png"), r"ben/1/1_2_3\.png: expected one camera number"),
        (_add_picture("ben/1/webcam2.png"), r"ben/1/webcam2\.png: expected one camera number"),
        (_add_picture("ben/1/cam1_cam2.png"), r"ben/1/cam1_cam2\.png: expected one.*found 2"),
        (_add_picture("1_cam2.png"), r"ctbc/1_cam2\.png: expected only labels\.txt and subject"),
        (_add_picture("ben/1/more/1_cam2.png"), r"ben/1/more: a folder inside"),
        (_add_file, r"ben/notes\.txt: expected only folders that labels\.txt names"),
        (_add_text_among_pictures, r"ben/2/0001_cam2\.txt: not a picture"),
        (_add_empty_subject, r"carl: empty"),
        (_only_other_cameras, r"expected pictures of camera 2.*6 pictures of other cameras"),
    ],
)
def test_a_wrong_layout_is_refused_by_name(
    root: Path, change: Callable[[Path], None], message: str
) -> None:
    change(root)
    with pytest.raises(DataError, match=message):
        read(root)


def test_every_fault_is_listed_at_once(root: Path) -> None:
    _add_file(root)
    _add_picture("ben/1/0001.png")(root)
    with pytest.raises(DataError, match=r"2 faults(.|\n)*0001\.png(.|\n)*") as caught:
        read(root)
    assert "ben/notes.txt" in str(caught.value)
