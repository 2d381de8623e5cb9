"""FER+ with a label.csv beside the pictures, in both layouts that are in use."""

from pathlib import Path

import numpy as np
import pytest
from drawn_trees import draw

from fer_keras.common.errors import DataError
from fer_keras.data.__main__ import main
from fer_keras.data.datasets import ferplus_folders

# neutral, happiness, surprise, sadness, anger, disgust, fear, contempt, unknown, NF
ROWS = {
    "fer0000000.png": (6, 0, 0, 4, 0, 0, 0, 0, 0, 0),
    "fer0000001.png": (0, 10, 0, 0, 0, 0, 0, 0, 0, 0),
    # No majority.
    "fer0000002.png": (3, 3, 4, 0, 0, 0, 0, 0, 0, 0),
}


def write(root: Path, *, trees: bool = False) -> Path:
    """Three pictures for each split."""
    for place, name in enumerate(("FER2013Train", "FER2013Valid", "FER2013Test")):
        pictures = (root / "Images" if trees else root) / name
        labels = (root / "Labels" if trees else root) / name
        labels.mkdir(parents=True)
        lines = []
        for number, (picture, votes) in enumerate(ROWS.items()):
            draw(pictures / picture, 100 * place + number)
            lines.append(f'{picture},"(0, 0, 48, 48)",{",".join(map(str, votes))}\n')
        (labels / "label.csv").write_text("".join(lines))
    return root


@pytest.mark.parametrize("trees", [False, True])
def test_both_layouts(trees: bool, tmp_path: Path) -> None:
    root = write(tmp_path / "FER_2013" / "Dataset", trees=trees)
    assert ferplus_folders.find(tmp_path) == root
    content = ferplus_folders.read(root)
    assert list(content.splits) == ["train", "validation", "test"]
    assert "1,602 pictures" in content.notes[0]
    first, second, third = content.splits["validation"]
    assert [each.label for each in (first, second, third)] == [0, 1, -1]
    np.testing.assert_array_equal(first.votes, ROWS["fer0000000.png"])
    assert first.source == "FER2013Valid/fer0000000.png"
    assert Path(str(first.image)).is_file()
    assert first.crop is None


def test_what_is_out_of_place_is_named(tmp_path: Path) -> None:
    root = write(tmp_path / "data")
    labels = root / "FER2013Train" / "label.csv"
    labels.write_text(
        'fer0000000.png,"(8, 4, 40, 44)",6,0,0,4,0,0,0,0,0,0\n'
        'fer0000001.png,"(0, 0, 0, 48)",6,0,0,4,0,0,0,0,0,0\n'
        'fer0000009.png,"(0, 0, 48, 48)",6,0,0,4,0,0,0,0,0,0\n'
        'fer0000002.png,"(0, 0, 48, 48)",6,0,0,4,0,0,0,0,0,x\n'
        'fer0000002.png,"(0, 0, 48, 48)",6\n'
    )
    with pytest.raises(DataError) as raised:
        ferplus_folders.read(root)
    for fault in (
        "row 2: expected a box",
        "row 3: no picture",
        "row 4: expected counts",
        "row 5: expected a name",
        "fer0000002.png: ",
    ):
        assert fault in str(raised.value)
    labels.write_text("".join(f'{n},"(8, 4, 40, 44)",{"1," * 9}1\n' for n in ROWS))
    (example, *_) = ferplus_folders.read(root).splits["train"]
    assert example.crop == (8, 4, 32, 40)
    (root / "FER2013Test" / "label.csv").unlink()
    with pytest.raises(DataError, match=r"FER2013Test/label\.csv: missing"):
        ferplus_folders.read(root)


def test_audit_says_which_votes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path / "data")
    words = ["audit", "ferplus_folders", "--source", str(root), "--no-near"]
    assert main([*words, "--cache-dir", str(tmp_path / "cache")]) == 0
    assert f"Votes: label.csv below {root}\n" in capsys.readouterr().out
