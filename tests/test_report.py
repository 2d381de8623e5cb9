"""The page about a run: what it shows, and that it refers to nothing and hides nothing."""

import csv
import dataclasses
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.metrics import evaluate_predictions
from fer_keras.common.opencv import cv2
from fer_keras.config import DatasetConfig, Experiment, to_json
from fer_keras.data.samples import one_hot
from fer_keras.evaluation.run_data import run_samples
from fer_keras.report import main
from fer_keras.reporting.run_page.charts import Line, line_chart, nice_ticks
from fer_keras.studies.subgroups.gaps import compare_groups

NAMES = ("happiness", "sadness")
HOSTILE = "<script>alert(1)</script>\"'.png"


class _Page(HTMLParser):
    """Every start tag with its attributes, and all text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def sections(self) -> list[str]:
        return [attributes["id"] for tag, attributes in self.tags if tag == "section"]


def _write_run(run: Path, source: str = "") -> Path:
    """A run folder as training leaves it, of 40 pictures, 8 of them wrong."""
    run.mkdir()
    labels = np.arange(40) % 2
    wrong = np.arange(40) < 8
    p = np.where(wrong[:, None] == (np.arange(2) == labels[:, None]), 0.3, 0.7)
    p[0] = [0.01, 0.99]  # the surest mistake
    result: dict[str, Any] = {
        **evaluate_predictions(p, one_hot(labels, 2), NAMES, duplicates=np.arange(40) < 4),
        "dataset": "folder", "split": "validation", "label_rule": "hard", "model_sha256": "aa",
        "dataset_notes": [HOSTILE], "run": "mine seed 0", "best_epoch": 2, "device": "CPU",
        "git_commit": "123", "calibrated": None, "command": "python -m fer_keras.train --exp mine",
    }  # fmt: skip
    (run / "result.json").write_text(json.dumps(result))
    epochs = [
        {"epoch": e, "loss": 1 / e, "val_loss": 1.2 / e, "accuracy": 0.3 * e,
         "val_accuracy": 0.25 * e, "learning_rate": 0.1 / e} for e in (1, 2, 3)
    ]  # fmt: skip
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, epochs)) + "\n")
    config = DatasetConfig(name="folder", source=source, image_size=16)
    (run / "experiment.json").write_text(to_json(Experiment("mine", config)))
    with (run / "predictions_validation.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(
            ["index", "source", "sha256", "true", "predicted", *map("p_{}".format, NAMES)]
        )
        for i, (row, label) in enumerate(zip(p, labels, strict=True)):
            name = HOSTILE if i == 0 else f"{i}.png"
            rows.writerow([i, name, f"{i:064x}", NAMES[label], NAMES[row.argmax()], *row])
    return run


def _write_studies(folder: Path, sha256: str) -> None:
    model = {"name": "mine", "path": "mine/best.keras", "sha256": sha256}
    about = {
        "studied_on": "folder validation (hard), n 40", "git_commit": "123", "dataset": "folder",
        "models": [model],
    }  # fmt: skip
    accuracy = {"accuracy": 0.8, "accuracy_low": 0.7, "accuracy_high": 0.9}
    conditions = [
        {"model": "mine", "corruption": name, "severity": s, "value": f"x0.{s}", **accuracy}
        for name, s in (("clean", 0), *(("light", s) for s in (1, 2)))
    ]
    sizes = [{"model": "mine", "pair": pair, "size": s, **accuracy}
             for pair in ("cubic", "area") for s in (48, 16)]  # fmt: skip
    maps = {"model": "mine", "map": "CAM", "accuracy": 0.8, "accuracy_highest": 0.5,
            "accuracy_other": 0.6, "accuracy_lowest": 0.79, "needed": 0.1, "needed_margin": 0.01,
            "eyes": 0.2, "mouth": 0.5}  # fmt: skip
    records: dict[str, Any] = {
        "robustness": {"conditions": conditions, "standard_points": []},
        "resize": {"rows": sizes},
        "heatmaps": {"rows": [maps]},
        "subgroups": {"results": [_groups()]},
    }
    folder.mkdir()
    for name, record in records.items():
        (folder / f"{name}.json").write_text(json.dumps({**about, **record}))
    picture = cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes()
    for kind in ("drawn", "mean", "folder"):
        (folder / f"mine_{kind}.png").write_bytes(picture)


def _groups() -> dict[str, Any]:
    from fer_keras.data.samples import Samples

    labels = np.arange(40) % 2
    facts = {
        name: np.array([str(i) for i in range(40)]) for name in ("source", "sha256", "subject")
    }
    images = np.zeros((40, 4, 4, 1), np.uint8)
    samples = Samples("folder", "validation", NAMES, "hard", images, one_hot(labels, 2), facts)
    kids = np.arange(40) < 20
    return compare_groups("mine", labels * 0, samples, {"age": {"kids": kids, "old": ~kids}}, 5)


def test_a_page_of_a_run_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _write_run(tmp_path / "run")
    assert main([str(run)]) == 0
    assert "none of this model found" in capsys.readouterr().out
    page = _Page(run / "report.html")
    assert page.sections == [
        "summary", "curves", "confusion", "classes", "calibration", "risk", "mistakes", "settings",
        "environment", "commands",
    ]  # fmt: skip
    assert "80.0% of 40 pictures right, between 65.2% and 89.5%" in page.text
    assert "dataset.image_size" in page.text
    assert "50.0%, epoch 2" in page.text
    # Names from files are text, and the surest mistake is the first one.
    assert "<script" not in page.html
    assert page.text.rindex("99.0%") < page.text.rindex("70.0%")
    # Nothing is loaded: no script, no link out, no picture but data.
    assert "default-src 'none'" in page.html
    assert not {"script", "iframe", "link", "object"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for key in ("src", "href"):
            assert re.match(r"#|data:image/png;base64,|$", attributes.get(key, ""))
    # Every entry of the list of sections leads somewhere.
    links = {a["href"][1:] for tag, a in page.tags if tag == "a"}
    assert links == {*page.sections, "main"}


def test_a_class_name_is_text_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = "<script>alert('c')</script>&\""
    monkeypatch.setattr("test_report.NAMES", (hostile, "sadness"))
    run = _write_run(tmp_path / "run")
    assert main([str(run)]) == 0
    page = _Page(run / "report.html")
    assert "script" not in {tag for tag, _ in page.tags}
    # In the matrix as row and column, among the classes, and as a true or given answer.
    assert page.text.count(hostile) >= 4


def test_studies_are_found_by_the_model_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _write_run(tmp_path / "run")
    _write_studies(tmp_path / "ours", "aa")
    _write_studies(tmp_path / "theirs", "bb")
    assert main([str(run)]) == 0
    shown = capsys.readouterr().out
    assert "heatmaps (mine), robustness (mine), resize (mine), subgroups (mine)" in shown
    page = _Page(run / "report.html")
    assert {"heatmaps", "robustness", "resize", "subgroups"} <= set(page.sections)
    # The sheet over pictures of the data set is not shown unasked.
    assert sum(tag == "img" for tag, _ in page.tags) == 2
    # The same study of other pictures stands beside the first, and the later one of the same wins.
    again = json.loads((tmp_path / "ours" / "resize.json").read_text())
    for number, data in enumerate(("folder", "drawn")):
        (tmp_path / data).mkdir()
        path = tmp_path / data / "resize.json"
        path.write_text(json.dumps({**again, "dataset": data, "studied_on": f"{data} again"}))
        os.utime(path, (2e9 + number, 2e9 + number))
    assert main([str(run)]) == 0
    text = _Page(run / "report.html").text
    assert "folder again" in text
    assert "drawn again" in text
    assert f"study resize {run} --dataset drawn" in text
    assert capsys.readouterr().out.count("resize (mine)") == 2
    with pytest.raises(ConfigError, match="about a model of"):
        main([str(run), "--study", str(tmp_path / "theirs")])


def test_what_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"with result\.json"):
        main([str(tmp_path)])


def test_pictures_only_where_they_are_asked_for(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        for i, name in enumerate(NAMES):
            folder = tmp_path / "faces" / split / name
            folder.mkdir(parents=True)
            assert cv2.imwrite(str(folder / "0.png"), np.full((16, 16), 50 + 100 * i, np.uint8))
    run = _write_run(tmp_path / "run", str(tmp_path / "faces"))
    path = run / "predictions_validation.csv"
    lines = path.read_text().splitlines()
    right = f"{0:064x}"
    known = run_samples(run, "validation")[0].facts["sha256"][0]
    path.write_text("\n".join([lines[0], lines[1].replace(right, known)]) + "\n")
    assert main([str(run), "--pictures"]) == 0
    page = _Page(run / "report_with_pictures.html")
    assert "This page holds pictures of the data set" in page.text
    (picture,) = (a for tag, a in page.tags if tag == "img")
    assert picture["alt"] == "happiness, answer sadness"
    assert not (run / "report.html").exists()

    path.write_text("\n".join(lines[:2]) + "\n")
    with pytest.raises(DataError, match="not the one that the predictions are about"):
        main([str(run), "--pictures"])


def test_the_page_goes_to_the_mlflow_run(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    from fer_keras.tracking.tracker import Tracker

    tracker = Tracker()
    run_id = tracker.start("folder", "mine-seed0", {}, {})
    tracker.finish("FINISHED")
    run = _write_run(tmp_path / "run")
    (run / "mlflow_run_id.txt").write_text(run_id + "\n")
    assert main([str(run)]) == 0
    assert "stored in the MLflow run" in capsys.readouterr().out
    assert "report.html" in {f.path for f in mlflow.MlflowClient().list_artifacts(run_id)}


def test_a_run_of_another_store_leaves_no_empty_one(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _write_run(tmp_path / "run")
    (run / "mlflow_run_id.txt").write_text("0" * 32 + "\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/elsewhere.db")
    assert main([str(run)]) == 0
    said = capsys.readouterr()
    assert f"no tracked runs at {tmp_path}/elsewhere.db" in said.err
    assert "stored in the MLflow run" not in said.out
    assert not (tmp_path / "elsewhere.db").exists()


def test_no_tick_stands_at_half_an_epoch() -> None:
    for epochs in ((1, 2), tuple(range(1, 13))):
        line = Line("a", epochs, (0.0,) * len(epochs))
        chart = line_chart("t", [line], x_label="x", y_range=(0.0, 1.0))
        named = re.findall(r'class="small middle">([^<]+)<', chart)
        assert set(named) & {"1", "5"}
        assert not any("." in name for name in named)


def test_ticks_and_lines() -> None:
    assert nice_ticks(0, 1) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert nice_ticks(0.31, 0.88) == [0.4, 0.6, 0.8]
    assert nice_ticks(3, 3) == [3]
    line = Line("a", (0, 1), (0.0, 1.0))
    chart = line_chart("t", [line], x_label="x", y_range=(0.0, 1.0), width=164, height=152)
    # From the left bottom corner of the plot to its right top.
    assert 'points="46.0,110.0 146.0,10.0"' in chart
    beyond = dataclasses.replace(line, y=(0.0, 2.0))
    assert 'points="46.0,110.0 146.0,10.0"' in line_chart(
        "t", [beyond], x_label="x", y_range=(0.0, 1.0), width=164, height=152
    )
