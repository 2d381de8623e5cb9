"""The container's files name what is there, and give away no rights."""

from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    lines = (_ROOT / "Dockerfile").read_text("utf-8").splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--" not in line]
    sources = [source for words in copied for source in words]
    assert {"fer_keras", "saved_models", "constraints.txt"} <= {*sources}
    kept = (_ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for source in sources:
        assert (_ROOT / source).exists(), source
        assert f"!{source}" in kept


def test_nothing_runs_as_root_or_writes_to_its_image() -> None:
    yaml = pytest.importorskip("yaml", reason="needs the package PyYAML")
    assert "\nUSER 10001:10001\n" in (_ROOT / "Dockerfile").read_text("utf-8")
    services = yaml.safe_load((_ROOT / "compose.yaml").read_text("utf-8"))["services"]
    assert {*services} == {"server", "camera", "broker"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
