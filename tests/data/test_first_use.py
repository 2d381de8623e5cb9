"""The first use of a cache by eight processes at once: one file or folder, whole, for all."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

# Forked after the imports, which take seconds, and let go together.
_FORK = """
import os, sys, time
from pathlib import Path

def eight(work):
    start = time.monotonic() + 0.5
    children = []
    for number in range(8):
        child = os.fork()
        if not child:
            code = 1
            try:
                time.sleep(max(0, start - time.monotonic()))
                work()
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    print([os.waitpid(child, 0)[1] for child in children])
"""

_EMBEDDINGS = (
    _FORK
    + """
import numpy as np
import keras
from fer_keras.training.embedding_cache import _Cache

class Encoder:
    variables = []
    class output:
        shape = (None, 2)
    def get_config(self):
        return {"name": "mean"}
    def predict_on_batch(self, block):
        time.sleep(0.05)
        return np.stack([block.mean((1, 2, 3)), block.max((1, 2, 3))], axis=1)

pictures = np.random.default_rng(0).integers(0, 256, (600, 8, 8, 1)).astype(np.uint8)
expected = Encoder().predict_on_batch(pictures.astype(np.float32))

def work():
    cache = _Cache(Encoder(), "none", [0, 0], Path(sys.argv[1]))
    for _ in range(3):
        np.testing.assert_allclose(cache.embed(pictures), expected, rtol=1e-6)

eight(work)
"""
)

_PREPARED = (
    _FORK
    + """
import fer_keras.data.datasets.folder as module
import tensorflow_datasets
from fer_keras.data.prepared import prepare_once, read_content

def work():
    folder = prepare_once(module, Path(sys.argv[1]), Path(sys.argv[2]), False)
    assert sum(read_content(folder).counts.values()) == 120

eight(work)
"""
)


def run_eight(script: str, *arguments: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.stdout.strip().endswith(str([0] * 8)), done.stderr


def test_embeddings(tmp_path: Path) -> None:
    run_eight(_EMBEDDINGS, tmp_path)
    (file,) = tmp_path.iterdir()
    assert np.load(file).shape == (600, 2)


def test_prepared_data(tmp_path: Path) -> None:
    source, cache = tmp_path / "source", tmp_path / "cache"
    rng = np.random.default_rng(0)
    for name in ("happy", "sad"):
        (source / name).mkdir(parents=True)
        for number in range(60):
            picture = rng.integers(0, 256, (16, 16), np.uint8)
            cv2.imwrite(str(source / name / f"{number}.png"), picture)
    run_eight(_PREPARED, source, cache)
    (prepared,) = (cache / "prepared").iterdir()
    assert not prepared.name.startswith(".")
