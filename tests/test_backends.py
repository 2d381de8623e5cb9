"""The marked subset of the tests, once more on the JAX and PyTorch backends."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow", reason="already on a backend"
)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_marked_subset(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"needs the extra [{backend}]")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "backends", "-p", "no:cacheprovider", "tests"],
        cwd=_ROOT,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    closing = done.stdout.strip().splitlines()[-25:]
    assert done.returncode == 0, "\n".join(closing)
    print(f"{backend}: {closing[-1]}")
