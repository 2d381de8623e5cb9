"""The marked subset of the tests, once more on the JAX and PyTorch backends."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
# The tests are tiny: JAX spends its time on making programs fast that run once.
_QUICK_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def _marked_files() -> list[str]:
    """Those with a test of the subset: to import the others takes ten seconds."""
    files = sorted((_ROOT / "tests").rglob("test_*.py"))
    return [str(path) for path in files if "mark.backends" in path.read_text(encoding="utf-8")]


@pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow", reason="already on a backend"
)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_marked_subset(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"needs the extra [{backend}]")
    command = [sys.executable, "-m", "pytest", "-m", "backends", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *_marked_files()],
        cwd=_ROOT,
        env={**os.environ, "KERAS_BACKEND": backend, "XLA_FLAGS": _QUICK_TO_COMPILE},
        capture_output=True,
        text=True,
    )
    closing = done.stdout.strip().splitlines()[-25:]
    assert done.returncode == 0, "\n".join(closing)
    print(f"{backend}: {closing[-1]}")
