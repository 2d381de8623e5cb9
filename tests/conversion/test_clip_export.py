"""From training on clips to a camera: run, resume, evaluate, export, ring buffer, commands."""

import csv
import importlib
import io
import json
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_keras import camera, predict
from fer_keras.common.errors import ConfigError, ExportError, ModelFileError
from fer_keras.common.files import read_json
from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
    load_experiment,
)
from fer_keras.conversion.clips import build_clip_files
from fer_keras.conversion.export_run import export_run
from fer_keras.conversion.ship import ship
from fer_keras.data import splits
from fer_keras.data.clips import real_frames
from fer_keras.data.samples import Samples, one_hot
from fer_keras.evaluation.evaluate import evaluate
from fer_keras.evaluation.summary import report
from fer_keras.loading.load import load_model
from fer_keras.models import build_network
from fer_keras.runtime import Recognizer
from fer_keras.runtime.stream.sources import ArraySource
from fer_keras.runtime.stream.stream import Stream
from fer_keras.training.callbacks import Interrupted, RunState
from fer_keras.training.fallback import with_fallback
from fer_keras.training.run import run

NAMES = ("rising", "falling", "still")
FRAMES, SIDE = 6, 16
EXPERIMENT = Experiment(
    name="tiny_clips",
    dataset=DatasetConfig("synthetic_clips", image_size=SIDE, clip_frames=FRAMES),
    augmentation="flip",
    network=NetworkConfig(
        "clip_lstm",
        {
            "encoder_options": {"stem_filters": 4, "widths": [8], "depths": [1], "dropout": 0.0},
            "units": 16,
            "attention_units": 8,
            "dropout": 0.0,
        },
    ),
    method=MethodConfig("clip_cross_entropy"),
    training=TrainingConfig(epochs=12, batch_size=16, learning_rate=0.02, weight_decay=0.0),
)


def brightness(label: int, num_frames: int, low: float = 40, high: float = 210) -> np.ndarray:
    up = np.linspace(low, high, num_frames)
    return (up, up[::-1], np.full(num_frames, (low + high) / 2))[label]


def clips(split: str, n: int) -> Samples:
    """Faces that grow brighter, darker or stay, in 4 to 6 frames of 6."""
    rng = np.random.default_rng(n)
    labels, lengths = np.arange(n) % 3, 4 + np.arange(n) // 3 % 3
    images = np.zeros((n, FRAMES, SIDE, SIDE, 1), np.uint8)
    for clip, label, length in zip(images, labels, lengths, strict=True):
        level = brightness(label, length)[:, None, None, None]
        noisy = level + rng.normal(0, 5, (length, SIDE, SIDE, 1))
        clip[:length] = np.clip(noisy, 1, 255).astype(np.uint8)
    facts = {
        "source": np.array([f"{split}{i}" for i in range(n)]),
        "sha256": np.array([f"{split}{i:060d}" for i in range(n)]),
        "subject": np.array([f"{split}{i}" for i in range(n)]),
    }
    return Samples("synthetic_clips", split, NAMES, "hard", images, one_hot(labels, 3), facts)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Samples]:
    """A run that was interrupted and resumed, with its export; the result; validation clips."""
    train, validation = clips("train", 96), clips("validation", 54)
    folder = tmp_path_factory.mktemp("clips") / "run"
    original = RunState.on_train_batch_end

    def interrupt(self: RunState, batch: int, logs: Any = None) -> None:
        if self._progress.step + 1 == 8:
            signal.raise_signal(signal.SIGINT)
        original(self, batch, logs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "load_splits", lambda *_: (train, validation, train))
        patch.setattr(
            "fer_keras.reporting.plots.save_figure", lambda figure, path: Path(path).touch()
        )
        with patch.context() as stopped:
            stopped.setattr(RunState, "on_train_batch_end", interrupt)
            with pytest.raises(Interrupted):
                run(EXPERIMENT, folder, track=False)
        result = run(EXPERIMENT, folder, resume=True, track=False)
        with pytest.raises(ExportError, match="--mirror"):
            export_run(folder, mirror=True)
        export_run(folder, parity_images=24)
    return folder, result, validation


def test_the_run_knows_clips_and_frames(trained: Any, tmp_path: Path) -> None:
    folder, result, validation = trained
    assert result["epochs"] == 12
    assert result["accuracy"] > 0.9
    assert result["num_frames"] == real_frames(validation.images).sum() == 54 * 5
    by_frame = result["accuracy_by_frame"]
    assert len(by_frame) == FRAMES
    mean = np.average(by_frame, weights=real_frames(validation.images).sum(axis=0))
    assert mean == pytest.approx(result["frame_accuracy"])
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["val_frame_accuracy"] > 0.5
    figures = evaluate(folder, validation, output_dir=tmp_path)
    assert figures["frame_accuracy"] == pytest.approx(result["frame_accuracy"])
    assert "single frames" in report(figures)
    assert "a clip of 6 grey face crops" in (folder / "card.md").read_text()


def test_encoder_and_head_agree_with_keras(trained: Any, tmp_path: Path) -> None:
    folder, result, validation = trained
    manifest = read_json(folder / "export" / "manifest.json")
    assert (manifest["input_kind"], manifest["clip_frames"]) == ("clip", FRAMES)
    models = manifest["parity"]["models"]
    assert set(models) == set(manifest["head_files"]) == {"float32", "float16"}
    assert models["float32"]["max_difference"] < 1e-5
    assert models["float16"]["max_difference"] < 1e-3
    assert models["float32"]["encoder_ms"] > 0
    model = load_model(folder / "export", precision="float16")
    assert (model.input_kind, model.num_pictures) == ("clip", FRAMES)
    figures = evaluate(model, validation, output_dir=tmp_path)
    assert figures["accuracy"] == pytest.approx(result["accuracy"], abs=0.03)
    assert figures["frame_accuracy"] == pytest.approx(result["frame_accuracy"], abs=0.03)
    with pytest.raises(ModelFileError, match=r"shape \(n, 6, 16, 16, 1\)"):
        model.predict(validation.images[:, 0])


def test_a_buffer_of_frames_reads_what_keras_reads(trained: Any) -> None:
    folder, _, validation = trained
    recognizer = Recognizer(folder / "export", detector="none")
    assert recognizer.input_kind == "clip"
    temperature = recognizer.manifest["temperature"]
    keras = load_model(folder)
    film = np.concatenate([clip[mask] for clip, mask in _with_masks(validation.images[:2])])
    seen = []
    with Stream(_source(film), recognizer, detect_every=1, half_life_s=0) as stream:
        for moment in stream:
            if moment.frame is not None:
                (face,) = moment.faces
                seen.append(([*face.result["emotions"].values()], face.raw))
    assert len(seen) == len(film) == 8
    for i, (shown, alone) in enumerate(seen):
        last = film[max(0, i + 1 - FRAMES) : i + 1]
        clip = np.zeros((1, FRAMES, SIDE, SIDE, 1), np.uint8)
        clip[0, : len(last)] = last
        expected = _softmax(keras.logits(clip)[0] / temperature)
        np.testing.assert_allclose(shown, expected, atol=1e-4)
        of_frame = _softmax(keras.frame_scores(clip)[0, len(last) - 1] / temperature)
        np.testing.assert_allclose(alone, of_frame, atol=1e-4)
        whole, frames = recognizer.predict_clip(film[: i + 1, ..., 0])
        np.testing.assert_allclose(whole, expected, atol=1e-4)
        assert frames.shape == (len(last), 3)
    # The next stream numbers its faces from the start again, but does not go on with their clips.
    with Stream(_source(film[:1]), recognizer, half_life_s=0) as stream:
        first = next(face for moment in stream for face in moment.faces)
    np.testing.assert_allclose([*first.result["emotions"].values()], seen[0][0], atol=1e-6)


def test_videos_get_both_scores_and_pictures_are_refused(
    trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _, _ = trained
    video = tmp_path / "rising.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    for level in brightness(0, FRAMES):
        writer.write(np.full((64, 64, 3), round(level), np.uint8))
    writer.release()
    common = ["--model", str(folder / "export"), "--detector", "none"]
    assert predict.main([str(video), *common, "--half-life", "0"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == FRAMES
    assert rows[-1]["dominant"] == "rising"
    assert float(rows[-1]["rising"]) > 0.8
    assert sum(float(rows[-1][f"raw_{name}"]) for name in NAMES) == pytest.approx(1, abs=1e-4)
    arguments = ["--source", str(video), "--no-window", "--model", str(folder / "export")]
    assert camera.main([*arguments, "--box", "64"]) == 0
    assert capsys.readouterr().out.count("\n") == FRAMES + 1

    picture = tmp_path / "face.png"
    cv2.imwrite(str(picture), np.full((32, 32), 128, np.uint8))
    with pytest.raises(ConfigError, match=r"clips of 6 frames.*expected videos.*face\.png"):
        predict.main([str(picture), *common])
    with pytest.raises(ConfigError, match="clips of 6 frames of one face"):
        predict.main([str(picture), *common, "--output-dir", str(tmp_path / "rows")])
    recognizer = Recognizer(folder / "export", detector="none")
    for read in (recognizer.recognize, lambda path: recognizer.predict_proba([path])):
        with pytest.raises(ConfigError, match="clips of 6 frames of one face, not single pictures"):
            read(picture)
    with pytest.raises(ConfigError, match="at least one frame"):
        recognizer.predict_clip([])
    with pytest.raises(ConfigError, match="two files"):
        ship(folder / "export", tmp_path / "shipped", precisions=("float32",), default="float32")


@pytest.mark.parametrize("name", ["clip_mean", "clip_r2plus1d", "clip_transformer"])
def test_every_network_is_cut_and_converted(name: str, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    small = importlib.import_module(f"fer_keras.models.{name}").SMALL
    network = build_network(name, (FRAMES, SIDE, SIDE, 1), len(NAMES), **small)
    record = build_clip_files(network, 0.5, NAMES, tmp_path, clips("validation", 9))
    assert record["num_frames"] == 45
    assert record["models"]["float32"]["max_difference"] < 1e-5
    assert record["models"]["float16"]["max_difference"] < 1e-3
    assert (tmp_path / "encoder_float16.tflite").stat().st_size > 0


def test_clips_that_are_missing_are_drawn() -> None:
    standing_in = with_fallback(load_experiment("ckplus_clips_lstm"), require_data=False)
    assert (standing_in.dataset.name, standing_in.dataset.clip_frames) == ("synthetic_clips", 12)


def test_a_head_of_another_model_is_refused(trained: Any, tmp_path: Path) -> None:
    import shutil

    folder, _, _ = trained
    copy = tmp_path / "export"
    shutil.copytree(folder / "export", copy)
    manifest = read_json(copy / "manifest.json")
    changed = {**manifest, "head_files": manifest["precision_files"]}
    (copy / "manifest.json").write_text(json.dumps(changed))
    with pytest.raises(ModelFileError, match="head: expected inputs"):
        Recognizer(copy)
    (copy / "manifest.json").write_text(json.dumps({**manifest, "clip_frames": 5}))
    with pytest.raises(ModelFileError, match="head: expected inputs"):
        Recognizer(copy)
    (copy / "manifest.json").write_text(json.dumps({**manifest, "head_files": {}}))
    with pytest.raises(ModelFileError, match="plain file name"):
        Recognizer(copy)


def _source(film: np.ndarray) -> ArraySource:
    return ArraySource(lambda: np.repeat(film, 3, axis=-1))


def _with_masks(images: np.ndarray) -> Any:
    return zip(images, real_frames(images), strict=True)


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    return exponentials / exponentials.sum()
