"""The settings study: which runs are one setting, and what is compared with what."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.common.metrics import evaluate_predictions
from fer_keras.config import Experiment, override, to_json
from fer_keras.data.samples import one_hot
from fer_keras.study import main

NAMES = ("anger", "disgust", "fear")
TRUE = np.array([0] * 5 + [1] * 2 + [2] * 5)


def write_run(
    folder: Path, wrong: tuple[int, ...], *changes: str, out_of_fold: bool = False
) -> Path:
    """A finished run that answers `fear`, or for fear `anger`, at the given pictures."""
    folder.mkdir(parents=True)
    experiment = override(Experiment("made"), ["dataset.name=synthetic_faces", *changes])
    (folder / "experiment.json").write_text(to_json(experiment))
    predicted = TRUE.copy()
    for index in wrong:
        predicted[index] = 2 if TRUE[index] != 2 else 0
    figures = evaluate_predictions(one_hot(predicted, 3), one_hot(TRUE, 3), NAMES)
    split = "out_of_fold" if out_of_fold else "validation"
    about = {"dataset": "synthetic_faces", "split": split, "label_rule": "hard"}
    (folder / "result.json").write_text(json.dumps({**figures, **about}))
    with (folder / f"predictions_{split}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["source", "true", "predicted"])
        for i, (true, answer) in enumerate(zip(TRUE, predicted, strict=True)):
            writer.writerow([f"p{i}", NAMES[true], NAMES[answer]])
    return folder


def test_the_study(tmp_path: Path, capsys: Any) -> None:
    oversampled = "dataset.oversample_to=2000"
    runs = [
        write_run(tmp_path / "a0", (0, 5, 6)),
        write_run(tmp_path / "a1", (0, 5), "seed=1"),
        write_run(tmp_path / "b0", (1, 5), oversampled),
        write_run(tmp_path / "b2", (1,), oversampled, "seed=2"),
    ]
    out = tmp_path / "out"
    assert main(["settings", *map(str, runs), "--output", str(out)]) == 0
    names = sorted(file.name for file in out.iterdir())
    assert names == ["settings.csv", "settings.json", "settings.md", "settings.png"]
    record = json.loads((out / "settings.json").read_text())
    first, second = record["rows"]
    assert (first["setting"], second["setting"]) == ("oversample_to 0", "oversample_to 2000")
    assert (first["seeds"], second["seeds"]) == ("0 1", "0 2")
    assert first["accuracy"] == pytest.approx((9 + 10) / 24)
    assert first["accuracy_std"] == pytest.approx(np.std([9 / 12, 10 / 12], ddof=1))
    # disgust is the rarest: none and one of two found, then one and both
    assert (first["recall"], second["recall"]) == (0.25, 0.75)
    (only,) = record["differences"]
    assert (only["seed"], only["gained"], only["lost"]) == (0, 2, 1)
    assert only["difference"] == pytest.approx(1 / 12)
    assert only["recall_difference"] == pytest.approx(0.5)
    shown = capsys.readouterr().out
    assert "2 of them disgust" in shown
    assert "| oversample_to 2000 |    0 |" in shown


def test_cross_validated_runs_are_compared_out_of_fold(tmp_path: Path, capsys: Any) -> None:
    folds = ("dataset.split=folds", "dataset.fold=-1")
    scratch = write_run(tmp_path / "scratch", (0, 1), *folds, out_of_fold=True)
    start = "network.weights=/somewhere/runs/first/best.keras"
    started = write_run(tmp_path / "started", (), start, *folds, out_of_fold=True)
    words = ["settings", str(scratch), str(started), "--class", "anger"]
    assert main([*words, "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "synthetic_faces out of fold (hard), n 12; 5 of them anger" in shown
    assert "| weights best.keras |" in shown
    assert "2 / 0" in shown


def test_refusals(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", ())
    same = write_run(tmp_path / "same", (), "seed=3")
    with pytest.raises(ConfigError, match="differ in a setting"):
        main(["settings", str(one), str(same)])
    other = write_run(tmp_path / "other", (), "dataset.oversample_to=9")
    with pytest.raises(ConfigError, match=r"unknown 'angre'\. Nearest: anger"):
        main(["settings", str(one), str(other), "--class", "angre"])
    with pytest.raises(ConfigError, match=r"result_test\.json and predictions_test\.csv"):
        main(["settings", str(one), str(other), "--split", "test"])
    lines = (other / "predictions_validation.csv").read_text().splitlines()
    (other / "predictions_validation.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(ConfigError, match=r"same pictures.*12 pictures.*\(11\)"):
        main(["settings", str(one), str(other)])
