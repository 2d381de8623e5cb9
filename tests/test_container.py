"""The container's files, and the service's, name what is there, and give away no rights."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fer_keras import camera, serve

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


def test_what_is_installed_is_known() -> None:
    text = (_ROOT / "Dockerfile").read_text("utf-8")
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", text)
    assert {*extras.split(",")} <= {*project["optional-dependencies"]}
    (pin,) = re.findall(r"s/\^(opencv-python==)//p", text)
    pins = (_ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert sum(line.startswith(pin) for line in pins) == 1


def test_the_commands_that_are_started_take_their_options() -> None:
    yaml = pytest.importorskip("yaml", reason="needs the package PyYAML")
    text = (_ROOT / "Dockerfile").read_text("utf-8")
    assert 'ENTRYPOINT ["python", "-m"]' in text
    (words,) = re.findall(r"^CMD (\[.*\])$", text, re.M)
    command, *options = yaml.safe_load(words)
    assert command == "fer_keras.serve"
    assert serve._parser().parse_args(options).host == "0.0.0.0"
    compose = yaml.safe_load((_ROOT / "compose.yaml").read_text("utf-8"))
    command, *options = compose["services"]["camera"]["command"]
    assert command == "fer_keras.camera"
    assert camera._parser().parse_args(options).mqtt == "broker"
    assert compose["services"]["camera"]["depends_on"] == ["broker"]
    # The health check asks a route that there is, at the port that is published.
    (port, route) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", text)[0]
    assert f"EXPOSE {port}" in text
    assert compose["services"]["server"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert serve._parser().parse_args([]).port == int(port)
    assert f'"{route}"' in (_ROOT / "fer_keras" / "runtime" / "server" / "app.py").read_text(
        "utf-8"
    )


def test_the_documented_service_is_one_that_systemd_takes(tmp_path: Path) -> None:
    text = (_ROOT / "docs" / "raspberry-pi.md").read_text("utf-8")
    (unit,) = re.findall(r"```ini\n(\[Unit\].*?)```", text, re.S)
    (line,) = re.findall(r"^ExecStart=(.*)$", unit, re.M)
    python, *words = shlex.split(line)
    assert words[:2] == ["-m", "fer_keras.camera"]
    assert camera._parser().parse_args(words[2:]).output == Path("/var/lib/fer-camera/faces.jsonl")
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    # Its Python is not here; another program is.
    service = tmp_path / "fer-camera.service"
    service.write_text(unit.replace(python, sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", str(service)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if "fer-camera" in line]
    assert (complaints, done.returncode) == ([], 0)
