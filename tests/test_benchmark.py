"""The benchmark: honest figures, models in turns, errors in one line, nothing left running."""

import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_models import tflite, write_export, write_pair_export

from fer_keras import benchmark
from fer_keras.common.errors import DataError, FerKerasError, ModelFileError
from fer_keras.data.samples import Samples
from fer_keras.runtime.faces import build_detector
from fer_keras.runtime.timing import machine, timing, turns
from fer_keras.runtime.timing.scene import draw_scene
from fer_keras.runtime.timing.turns import Choice, Timings


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "ROUNDS", 2)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("models") / "export")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another project's model: no labels, and outputs that are no probabilities."""
    path = tmp_path_factory.mktemp("other") / "other.tflite"
    path.write_bytes(tflite(channels=3, batch_size=1, softmax=False))
    return path


def test_report_of_an_export_and_another_projects_model(
    export: Path, bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "bench.json"
    arguments = [str(export), str(bare), "--threads", "1", "2", "--detector", "haar", "--runs", "4"]
    assert benchmark.main([*arguments, "--output", str(output)]) == 0
    report = json.loads(output.read_text())
    assert report["machine"]["packages"]["numpy"] == np.__version__
    names = [model["name"] for model in report["models"]]
    assert names == ["tiny float32", "tiny int8", "other"]
    for model in report["models"]:
        assert list(model["threads"]) == ["1", "2"]
        for row in model["threads"].values():
            assert 0 < row["min_ms"] <= row["p50_ms"] <= row["p95_ms"]
            assert row["n"] == 4
        assert 0 < model["load_ms"] < model["ready_ms"]
    ours, int8, other = report["models"]
    assert [row["x_first"] for row in ours["threads"].values()] == [1.0, 1.0]
    assert int8["bytes"] == (export / "model_int8.tflite").stat().st_size
    assert (int8["input_dtype"], other["input_shape"]) == ("uint8", [1, 24, 24, 3])
    assert list(ours["stages"]) == list(timing.STAGES)
    # NumPy, OpenCV and LiteRT alone hold tens of MiB; a detector adds to it.
    assert 30 < ours["peak_mib"] < ours["full_peak_mib"] < 300
    assert other["stages"] == {}
    assert other["full_peak_mib"] is None
    table = capsys.readouterr().out
    assert f"Python {sys.version_info[0]}.{sys.version_info[1]}" in table
    # In the table of threads, that of batches and that of stages, which other models lack.
    assert table.count("tiny int8") == 3
    assert table.count("other") == 2
    assert "ms per face in batches, 1 thread, p50" in table
    assert all(list(model["batches"]) == ["8", "32"] for model in report["models"])


def test_figures_of_a_report() -> None:
    """Ratios are taken round by round: a machine that slows down hits both models of a round."""
    choices = [Choice("a", Path("a"), None), Choice("b", Path("b"), "int8")]
    slow = [
        Timings({"peak_mib": 1.0}, {1: [[1, 1, 1], [10, 10, 10], [1, 2, 1]]}),
        Timings({"peak_mib": 2.0}, {1: [[2, 2, 2], [20, 20, 20], [3, 3, 3]]}, {"decode": [4, 6]}),
    ]
    first, second = benchmark.summarise(choices, slow)
    assert first["threads"]["1"] == {
        "p50_ms": 1.0, "p95_ms": 10.0, "min_ms": 1.0, "n": 9, "x_first": 1.0
    }  # fmt: skip
    assert second["threads"]["1"]["x_first"] == 2.0
    assert second["threads"]["1"]["p50_ms"] == 3.0
    assert second["stages"] == {"decode": {"p50_ms": 5.0, "p95_ms": 5.9, "min_ms": 4.0, "n": 2}}
    assert (second["name"], second["path"], second["precision"]) == ("b", "b", "int8")


def test_models_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, int]] = []

    class Worker:
        def __init__(self, choice: Choice, picture: Path | None, messages: Any) -> None:
            self.name = choice.name
            self.facts = {"is_export": self.name == "ours"}

        def __enter__(self) -> "Worker":
            return self

        def __exit__(self, *_: object) -> None:
            asked.append((self.name, "end", 0))

        def ask(self, ask: str, threads: int = 0, **_: object) -> dict[str, Any]:
            asked.append((self.name, ask, threads))
            return {"ms": {"decode": [1.0]} if ask == "stages" else [1.0], "peak_mib": 7.0}

    monkeypatch.setattr(turns, "_Worker", Worker)
    both = [Choice("ours", Path("a"), None), Choice("theirs", Path("b"), None)]
    ours, theirs = turns.measure(both, threads=[1, 4], calls=100)
    one_round = [
        ("ours", "invoke", 1), ("theirs", "invoke", 1), ("ours", "invoke", 4),
        ("theirs", "invoke", 4), ("ours", "stages", 1),
    ]  # fmt: skip
    assert asked[: 5 * turns.ROUNDS] == one_round * turns.ROUNDS
    assert asked[5 * turns.ROUNDS :] == [
        ("ours", "memory", 0),
        ("theirs", "end", 0),
        ("ours", "end", 0),
    ]
    assert (len(ours.by_threads[4]), len(ours.stages["decode"])) == (turns.ROUNDS, turns.ROUNDS)
    assert (ours.full_peak_mib, theirs.full_peak_mib) == (7.0, None)


def test_which_files_are_timed(
    export: Path, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names(paths: Sequence[Path], precision: str | None = None) -> list[str]:
        return [choice.name for choice in turns.find_choices(paths, precision)]

    assert names([export], "int8") == ["tiny int8"]
    assert names([export / "model_int8.tflite"]) == ["tiny int8"]
    assert names([bare, export, bare]) == ["other", "tiny float32", "tiny int8"]
    monkeypatch.setattr(turns, "default_model", lambda: export)
    assert names([]) == ["tiny float32", "tiny int8"]
    # Two models of one name are told apart by their paths.
    twin = write_export(tmp_path / "twin")
    assert names([export, twin], "int8") == [f"{export} int8", f"{twin} int8"]
    with pytest.raises(ModelFileError, match="float16"):
        names([export], "float16")
    with pytest.raises(ModelFileError, match="no model found"):
        names([tmp_path / "missing"])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: b"\0\0\0\0TFL3" + content[8:400], "cannot be run|ended with"),
        (lambda content: b"no model at all", "not a TFLite model"),
    ],
)
def test_damaged_model_is_one_error(spoil: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.tflite"
    path.write_bytes(spoil(tflite()))
    with pytest.raises(FerKerasError, match=message) as caught:
        benchmark.main([str(path), "--runs", "10"])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_input_of_no_fixed_size_is_refused(tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    image = keras.Input((None, None, 1), batch_size=1)
    network = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    path = tmp_path / "any_size.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())
    with pytest.raises(ModelFileError, match=r"fixed sizes.*any_size"):
        timing.TimedModel(path)


def test_a_process_that_dies_is_named(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ModelFileError, match=r"ended with 1.*export"):
        benchmark.main([str(export), "--runs", "10"])


def test_no_process_stays_behind(export: Path) -> None:
    choice = Choice("tiny", export, "int8")
    with tempfile.TemporaryFile() as messages:
        with turns._Worker(choice, None, messages) as worker:
            assert worker._process.poll() is None
            reply = worker.ask(ask="invoke", threads=1, calls=4, limit_s=60.0)
            assert len(reply["ms"]) == 4
        assert worker._process.poll() is not None


def test_slow_model_does_fewer_runs(bare: Path) -> None:
    model = timing.TimedModel(bare)
    assert len(model.invoke_ms(1, calls=50, limit_s=0.0)) == 3
    assert len(model.invoke_ms(1, calls=2, limit_s=0.0)) == 2
    assert len(model.invoke_ms(1, calls=50, limit_s=60.0)) == 50


def test_pair_model_has_stages(tmp_path: Path) -> None:
    model = timing.TimedModel(write_pair_export(tmp_path / "pair"), "int8")
    assert model.facts["input_shape"] == [1, 2, 24, 24, 1]
    scene = timing.picture_bytes(None)
    assert set(model.stages_ms(scene, "none", 1, 2, 60.0)) == set(timing.STAGES)


def test_own_picture(export: Path, tmp_path: Path) -> None:
    empty = tmp_path / "wall.png"
    cv2.imwrite(str(empty), np.full((120, 160, 3), 90, np.uint8))
    arguments = [str(export), "--precision", "int8", "--runs", "10", "--picture", str(empty)]
    with pytest.raises(DataError, match=r"no face found .* mtcnn.*--picture"):
        benchmark.main(arguments)
    assert benchmark.main([*arguments, "--detector", "none"]) == 0
    with pytest.raises(DataError, match="found none"):
        benchmark.main([str(export), "--picture", str(tmp_path / "missing.jpg")])


def test_wrong_arguments(export: Path, tmp_path: Path) -> None:
    report = tmp_path / "none" / "bench.json"
    arguments = [str(export), "--precision", "int8", "--runs", "10", "--detector", "none"]
    assert benchmark.main([*arguments, "--threads", "1", "--output", str(report)]) == 0
    assert json.loads(report.read_text())["settings"]["detector"] == "none"
    for option in (["--threads", "0"], ["--budget", "0ms"], ["--batches", "0"]):
        with pytest.raises(SystemExit):
            benchmark.main([*arguments, *option])


@pytest.mark.parametrize("detector", ["mtcnn", "haar"])
def test_detectors_find_the_drawn_face(detector: str) -> None:
    scene = draw_scene()
    assert (scene.shape, scene.dtype) == ((480, 640, 3), np.uint8)
    (face,) = build_detector(detector).detect(scene)
    left, top, width, height = face.box
    # Eyes and mouth.
    for x, y in ((287, 215), (353, 215), (320, 290)):
        assert left < x < left + width
        assert top < y < top + height


def test_throttling_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "vcgencmd"
    command.write_text("#!/bin/sh\necho throttled=0x50005\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    state = machine.machine_state()
    assert state["throttled"] == [
        "under-voltage now",
        "throttled now",
        "under-voltage since the start",
        "throttled since the start",
    ]
    calm = {**state, "throttled": [], "temperature_c": 48.1, "mhz": 1800.0}
    hot = {**state, "temperature_c": 84.9, "mhz": 1200.0}
    assert "48 -> 85 °C, 1800 -> 1200 MHz" in benchmark.state_line(calm, hot)
    assert "throttled now" in benchmark.state_line(calm, hot)
    assert "WARNING" not in benchmark.state_line(hot, calm)
    command.write_text("#!/bin/sh\nexit 1\n")
    assert machine.machine_state()["throttled"] is None


def test_machine_is_described() -> None:
    facts = machine.describe_machine()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["python"] in machine.summary(facts)
    pi = {**facts, "board": "Raspberry Pi 5 Model B", "processor": None, "governor": "ondemand"}
    assert machine.summary(pi).startswith("Raspberry Pi 5 Model B, ")
    assert "governor ondemand" in machine.summary(pi)


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    facts = machine.describe_machine()
    assert (facts["cores"], facts["usable_cores"]) == (64, 1)
    monkeypatch.delattr(os, "sched_getaffinity")
    assert machine.usable_cores() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.usable_cores() == 1


def test_a_machine_is_named_by_its_board_or_else_its_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr(machine, "_BOARD", tmp_path / "model")
    for processor, name in (("Cortex", "Cortex (aarch64)"), (None, "aarch64")):
        monkeypatch.setattr(machine, "_processor", lambda known=processor: known)
        assert machine.machine_name() == name
    machine._BOARD.write_text("Raspberry Pi 5 Model B\0")
    assert machine.machine_name() == "Raspberry Pi 5 Model B (aarch64)"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is told by Linux")
def test_peak_memory_is_that_of_the_process() -> None:
    code = (
        "from fer_keras.runtime.timing.machine import peak_memory_mib; a = peak_memory_mib(); "
        "b'x' * (64 << 20); print(peak_memory_mib() - a)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 60 < float(done.stdout) < 80


def test_the_timed_process_imports_no_training_stack(export: Path) -> None:
    code = (
        "import io, json, sys\n"
        "from fer_keras.runtime.timing.timing import serve\n"
        "spec = {'model': sys.argv[1], 'precision': 'int8', 'engine': 'litert',"
        "'picture': None}\n"
        "stages = {'ask': 'stages', 'detector': 'mtcnn', 'threads': 1, 'calls': 1, 'limit_s': 9}\n"
        "replies = io.StringIO()\n"
        "serve(spec, io.StringIO(json.dumps(stages)), replies)\n"
        "heavy = ('tensorflow', 'keras', 'mlflow', 'sklearn', 'scipy', 'matplotlib')\n"
        "print(len(replies.getvalue().splitlines()), [n for n in heavy if n in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(export)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "2 []\n"


@pytest.mark.parametrize(
    ("cores", "counts"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])]
)
def test_thread_counts(cores: int, counts: list[int]) -> None:
    assert benchmark._thread_counts(cores) == counts
    assert all(a < b for a, b in itertools.pairwise(counts))


def test_peer_is_scored_by_names() -> None:
    """A model without contempt, in another order and spelling; its one miss is the contempt."""
    path = Path(__file__).parents[1] / "benchmarks" / "peer_fer.py"
    spec = importlib.util.spec_from_file_location("peer_fer", path)
    assert spec is not None
    assert spec.loader is not None
    peer_fer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peer_fer)
    samples = Samples(
        name="four",
        split="validation",
        class_names=("neutral", "happiness", "contempt"),
        label_rule="hard",
        images=np.zeros((4, 8, 8, 1), np.uint8),
        targets=np.eye(3, dtype=np.float32)[[0, 1, 2, 1]],
        facts={
            "source": np.array(["a", "b", "c", "d"]),
            "sha256": np.array(["1", "2", "3", "4"]),
            "subject": np.array([""] * 4),
        },
    )
    happy, neutral = [0.9, 0.1], [0.2, 0.8]
    answers = np.array([neutral, happy, happy, happy], np.float32)
    scores = peer_fer.score(answers, ("happy", "neutral"), samples)
    assert (scores["accuracy"], scores["accuracy_without_contempt"]) == (0.75, 1.0)
    assert scores["n_without_contempt"] == 3
    assert scores["interval"][0] < 0.75 < scores["interval"][1]
    backwards = peer_fer.score(answers, ("neutral", "happy"), samples)
    assert (backwards["accuracy"], backwards["accuracy_without_contempt"]) == (0.0, 0.0)


def test_a_budget_names_what_fits() -> None:
    from fer_keras.runtime.timing.budget import budget_rows, budget_text, shipped_models

    paths = shipped_models()
    assert {path.name for path in paths} >= {"ferplus", "ferplus_tiny"}

    def entry(path: Any, precision: str, classify_ms: float) -> dict[str, Any]:
        stages = {"decode": 1.0, "detect": 99.0, "align": 0.5, "classify": classify_ms}
        return {
            "name": f"{path.name} {precision}", "path": str(path), "precision": precision,
            "engine": "litert", "stages": {k: {"p50_ms": ms} for k, ms in stages.items()},
        }  # fmt: skip

    by_name = {path.name: path for path in paths}
    models = [entry(by_name["ferplus_tiny"], "float32", 0.5), entry(by_name["ferplus"], "int8", 4)]
    detectors = {"mtcnn": 8.0, "haar": 30.0, "none": 0.0}
    rows = budget_rows(models, detectors, 10.0)
    # 1 + 0.5 + 4 + 8 is too much; the more accurate model comes first.
    assert [(row["model"], row["detector"], row["ms"]) for row in rows] == [
        ("ferplus int8", "none", 5.5),
        ("ferplus_tiny float32", "none", 2.0),
        ("ferplus_tiny float32", "mtcnn", 10.0),
    ]
    manifest = json.loads((by_name["ferplus"] / "manifest.json").read_text())
    assert rows[0]["accuracy"] == manifest["robustness"]["accuracy"]
    assert "2.00 ms  ferplus_tiny float32, none  accuracy" in budget_text(rows, 10.0)
    assert "--detect-every 10" in budget_text([], 1.0)
    assert budget_rows([{**models[0], "stages": {}}], detectors, 100.0) == []


def test_batches_are_timed_by_the_face(bare: Path) -> None:
    model = timing.TimedModel(bare)
    single = float(np.median(model.invoke_ms(1, calls=200, limit_s=60.0)))
    batched = float(np.median(model.invoke_ms(1, calls=50, limit_s=60.0, batch=8)))
    # One face after the other: the same time for each, and not eight times as much.
    assert batched < 4 * single
