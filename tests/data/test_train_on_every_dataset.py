"""`--set dataset.name=...` works with every data set of the list."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import test_affectnet
import test_affectnet_esr
import test_fer2013
import test_ferplus
import test_ferplus_folders
import test_rafdb
from drawn_trees import draw, write_ck48, write_ckplus

from fer_keras.data import list_datasets
from fer_keras.data.datasets import synthetic_clips
from fer_keras.data.registry import dataset_module
from fer_keras.train import main

_EIGHT = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
_SEVEN = tuple(name for name in _EIGHT if name != "contempt")


def _classes(*splits: str, names: tuple[str, ...] = _EIGHT) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        for place, split in enumerate(splits):
            for label, name in enumerate(names):
                for copy in range(3):
                    draw(root / split / name / f"{copy}.png", 100 * place + 10 * label + copy)
        return root

    return write


def _ctbc(root: Path) -> Path:
    for subject in ("anna", "ben", "carl"):
        for label in range(7):
            draw(root / subject / str(label) / "0001_cam2.png", 10 * ord(subject[0]) + label)
    lines = (f"{label} -> {name}\n" for label, name in enumerate(_SEVEN))
    (root / "labels.txt").write_text("".join(lines))
    return root


def _fer2013(root: Path) -> Path:
    root.mkdir()
    test_fer2013._write_plain(root)
    return root


def _affectnet_small(root: Path) -> Path:
    return test_affectnet._sets(root, train=(0, 1) * 20)


_WRITERS: dict[str, Callable[[Path], Path | None]] = {
    "affectnet": test_affectnet._lists,
    "affectnet7": test_affectnet._sets,
    "affectnet_esr": test_affectnet_esr._repack,
    "affectnet_small": _affectnet_small,
    "ckplus": write_ckplus,
    "ckplus7": write_ck48,
    "ckplus_esr": write_ckplus,
    "ckplus_sequences": write_ckplus,
    "ctbc": _ctbc,
    "fer2013": _fer2013,
    "fer2013_folders": _classes("train", "test", names=_SEVEN),
    "fer2013plus": _classes("train", "validation", "test"),
    "ferplus": test_ferplus._write,
    "ferplus_folders": test_ferplus_folders.write,
    "folder": _classes("train", "validation"),
    "rafdb": test_rafdb._release,
    "synthetic_clips": lambda root: None,
    "synthetic_faces": lambda root: None,
}


def test_there_is_a_copy_of_every_data_set() -> None:
    assert set(_WRITERS) == set(list_datasets())


@pytest.mark.parametrize("name", sorted(set(_WRITERS) - {"synthetic_clips", "synthetic_faces"}))
def test_what_systems_leave_changes_nothing(name: str, tmp_path: Path) -> None:
    root = _WRITERS[name](tmp_path / name)
    assert root is not None
    module = dataset_module(name)

    def found() -> dict[str, list[str]]:
        source = module.find(root)
        assert source is not None
        splits = module.read(source).splits.items()
        return {split: [example.source for example in examples] for split, examples in splits}

    before = found()
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        for litter in (".DS_Store", "._0.png", "Thumbs.db", "desktop.ini"):
            (folder / litter).write_bytes(b"x")
        (folder / "__MACOSX").mkdir()
        draw(folder / ".ipynb_checkpoints" / "0-checkpoint.png", 0)
    assert found() == before


@pytest.mark.usefixtures("eager", "few_faces", "undrawn")
@pytest.mark.parametrize("name", sorted(_WRITERS))
def test_word2vec_trains_a_step(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "synthetic_clips":
        few = {"train": range(7), "validation": range(7, 14), "test": range(14, 21)}
        monkeypatch.setattr(synthetic_clips, "SPLIT_SUBJECTS", few)
    source = _WRITERS[name](tmp_path / name)
    settings = {
        "dataset.name": name,
        "dataset.limit": 32,
        "training.epochs": 1,
        "network.options.stem_filters": 4,
        "network.options.widths": [4],
        "network.options.depths": [1],
        **({"dataset.source": source} if source else {}),
        # The one held-out picture of the FER+ fixture has no majority.
        **({"dataset.eval_label_rule": "crossentropy"} if name == "ferplus" else {}),
    }
    arguments = [part for item in settings.items() for part in ("--set", "{}={}".format(*item))]
    run_dir = tmp_path / "run"
    assert main(["--exp", "word2vec", *arguments, "--run-dir", str(run_dir), "--no-mlflow"]) == 0
    result = json.loads((run_dir / "result.json").read_text())
    assert result["dataset"] == name
    assert not result["fallback"]
    assert (run_dir / "best.keras").is_file()
