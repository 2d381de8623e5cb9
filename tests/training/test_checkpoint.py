"""The checkpoint is complete and survives what can happen while it is written."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fer_keras.common.errors import ModelFileError, TrainingError
from fer_keras.config import TrainingConfig
from fer_keras.methods import build_method
from fer_keras.training.checkpoint import Progress, load_checkpoint, save_checkpoint


def tiny_method(width: int = 4, seed: int = 0) -> Any:
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(width, 3, use_bias=False)(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5, seed=seed)(x)
    embedding = keras.layers.GlobalAveragePooling2D()(x)
    logits = keras.layers.Dense(2)(embedding)
    network = keras.Model(image, {"logits": logits, "embedding": embedding})
    method = build_method("cross_entropy", network, ("neutral", "happiness"))
    method.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), jit_compile=False)
    method.optimizer.build(method.trainable_variables)
    return method


def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (8, 8, 8, 1)).astype("float32"), np.eye(2, dtype="float32")[
        rng.integers(0, 2, 8)
    ]


def values(method: Any) -> list[np.ndarray]:
    variables = [*method.variables, *method.optimizer.variables]
    return [np.asarray(keras.ops.convert_to_numpy(v)) for v in variables]


@pytest.mark.backends
def test_going_on_from_a_checkpoint_is_going_on(tmp_path: Path) -> None:
    x, y = batch()
    straight = tiny_method()
    for _ in range(3):
        straight.train_on_batch(x, y)
    save_checkpoint(tmp_path, straight, Progress(step=3, history=[{"epoch": 1, "val_loss": 0.5}]))
    for _ in range(3):
        straight.train_on_batch(x, y)

    resumed = tiny_method(seed=9)
    progress = load_checkpoint(tmp_path, resumed)
    assert progress == Progress(step=3, history=[{"epoch": 1, "val_loss": 0.5}])
    for _ in range(3):
        resumed.train_on_batch(x, y)
    for a, b in zip(values(straight), values(resumed), strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_checkpoint_yet(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, tiny_method()) is None


def test_nan_is_never_saved(tmp_path: Path) -> None:
    method = tiny_method()
    path = save_checkpoint(tmp_path, method, Progress(step=1))
    before = path.read_bytes()
    kernel = method.trainable_variables[0]
    kernel.assign(np.full(kernel.shape, np.nan, "float32"))
    with pytest.raises(TrainingError, match=r"not finite at step 2"):
        save_checkpoint(tmp_path, method, Progress(step=2))
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state.npz"]


def test_full_disk_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = tiny_method()
    path = save_checkpoint(tmp_path, method, Progress(step=1))
    before = path.read_bytes()

    def full(file: Any, **arrays: Any) -> None:
        file.write(b"half a checkpoint")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(TrainingError, match="No space left on device"):
        save_checkpoint(tmp_path, method, Progress(step=2))
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state.npz"]


def test_damaged_file_is_named(tmp_path: Path) -> None:
    method = tiny_method()
    path = save_checkpoint(tmp_path, method, Progress(step=1))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelFileError, match=r"damaged.*state\.npz"):
        load_checkpoint(tmp_path, method)


def test_another_network_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, tiny_method(width=4), Progress(step=1))
    with pytest.raises(ModelFileError, match="another network"):
        load_checkpoint(tmp_path, tiny_method(width=5))


def test_a_file_of_before_the_metrics_were_kept_is_read(tmp_path: Path) -> None:
    method = tiny_method()
    path = save_checkpoint(tmp_path, method, Progress(step=3))
    with np.load(path) as file:
        older = {name: file[name] for name in file.files if not name.startswith("metric")}
        assert len(older) < len(file.files)
    with path.open("wb") as file:
        np.savez(file, **older)
    assert load_checkpoint(tmp_path, tiny_method(seed=9)) == Progress(step=3)


def test_best_prefers_the_earlier_of_equals() -> None:
    rows = [
        {"epoch": e, "val_accuracy": a, "val_loss": loss}
        for e, a, loss in [(1, 0.5, 1.0), (2, 0.7, 0.9), (3, 0.7, 0.8)]
    ]
    progress = Progress(history=rows)
    assert progress.best("val_accuracy") is rows[1]
    assert progress.best("val_loss") is rows[2]
    assert Progress().best("val_loss") is None
    assert progress.kept(TrainingConfig()) is rows[1]
    assert progress.kept(TrainingConfig(keep="last")) is rows[2]
