"""Authors' weights through the commands: evaluated, compared and exported by one line each."""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras import compare, evaluate, export
from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.loading.load import load_model, load_published

sys.path.insert(0, str(Path(__file__).parent / "loading"))
import authors_tensors

sys.path.pop(0)

DATA = ["--dataset", "synthetic_faces"]
ESR = ["--network", "esr", "--labels", "ckplus"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ensemble of two branches for CK+, as its authors save it."""
    folder = tmp_path_factory.mktemp("published") / "esr"
    folder.mkdir()
    tensors = authors_tensors.values(authors_tensors.esr(2, ckplus=True))
    for part, file in (
        ("base", "Net-Base-Shared_Representations.pt"),
        ("branch1", "Net-Branch_1.pt"),
        ("branch2", "Net-Branch_2.pt"),
    ):
        mine = {n.partition(".")[2]: t for n, t in tensors.items() if n.startswith(part)}
        (folder / file).write_bytes(pickle.dumps(mine))
    return folder


def read(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return record


@pytest.mark.usefixtures("few_faces", "undrawn")
def test_one_command_each(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Random weights are undecided between classes, which 8 bits then decide.
    monkeypatch.setattr("fer_keras.conversion.parity._MIN_SAME_ARG_MAX", 0.5)
    monkeypatch.setattr("fer_keras.conversion.parity._MAX_ACCURACY_LOSS", 0.5)
    out = tmp_path / "evaluated"
    assert evaluate.main([str(folder), *ESR, *DATA, "--output", str(out)]) == 0
    figures = read(out / "result.json")
    assert (figures["n"], figures["dataset"]) == (79, "synthetic_faces")

    out = tmp_path / "compared"
    words = [str(folder), "--peer", f"esr:ckplus={folder}", *ESR, "--timing-runs=0", "--sheet=0"]
    assert compare.main([*words, *DATA, "--output", str(out)]) == 0
    rows = read(out / "comparison.json")["models"]
    assert [row["accuracy"] for row in rows] == [figures["accuracy"]] * 2

    out = tmp_path / "exported"
    words = [str(folder), *ESR, *DATA, "--decision", "mean", "--no-int8"]
    assert export.main([*words, "--output", str(out)]) == 0
    manifest = read(out / "manifest.json")
    assert manifest["training"]["published"]["labels"][:2] == ["anger", "disgust"]
    # The pictures are made as the authors make theirs, and the classes stand as in the data set.
    assert manifest["pictures"]["enlarge"] == "linear"
    assert manifest["class_names"][:2] == ["neutral", "happiness"]
    card = (out / "card.md").read_text("utf-8")
    assert "How the network was trained is not known here" in card
    assert "The epoch was chosen" not in card
    mean = load_published(folder, "esr", "ckplus", "mean")
    pictures = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 1), np.uint8)
    answers = mean.logits(pictures)[:, [mean.class_names.index(n) for n in manifest["class_names"]]]
    exponentials = np.exp(answers / manifest["temperature"])
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(load_model(out).predict(pictures), expected, atol=1e-5)


def test_what_is_missing_is_said(folder: Path, tmp_path: Path) -> None:
    file = str(folder / "Net-Branch_1.pt")
    for command in (evaluate.main, compare.main, export.main):
        with pytest.raises(ConfigError, match="expected --labels too"):
            command([file, "--network", "esr", *DATA])
        with pytest.raises(ConfigError, match="expected --network"):
            command([file, "--decision", "vote", *DATA])
    with pytest.raises(ConfigError, match="expected both"):
        export.main([file, *ESR])
    with pytest.raises(ModelFileError, match=r"do not say what they are\. Mend: --network ddamfn"):
        load_model(file)
