"""The session on a GPU spends its minutes on what runs there."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu_session.py"


@pytest.fixture
def gpu_session(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("gpu_session", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look for their module there.
    monkeypatch.setitem(sys.modules, "gpu_session", module)
    spec.loader.exec_module(module)
    return module


def test_a_backend_that_is_too_slow_leaves_time_for_the_others(
    gpu_session: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, str]] = []

    def run(command: list[str], **options: Any) -> Any:
        *_, network, variant = (word for word in command if word != "--toy")
        asked.append((network, variant))
        if variant == "jax" and network != "compact":
            raise subprocess.TimeoutExpired(command, options["timeout"])
        answer = json.dumps({"images_per_second": 1.0, "first_step_s": 1.0})
        return subprocess.CompletedProcess(command, 0, stdout=answer, stderr="")

    monkeypatch.setattr(gpu_session.subprocess, "run", run)
    gpu_session.measure_throughput(gpu_session.Session(tmp_path, 10), toy=True)
    networks = list(gpu_session.NETWORKS)
    assert [network for network, variant in asked if variant == "jax"] == networks[:3]
    for variant in ("tensorflow, XLA", "tensorflow", "torch"):
        assert [network for network, each in asked if each == variant] == networks
    assert "not done in 90 s" in (tmp_path / "table.md").read_text(encoding="utf-8")
