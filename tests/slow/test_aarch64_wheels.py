"""Every base dependency has a wheel for Raspberry Pi OS, 64 bit: nothing is compiled on a Pi.

Nor for the server's container on such processors.

A resolver run for the platform, without an emulator. It needs a package index, and is skipped where
there is none. Run by hand: `python -m pytest tests/slow/test_aarch64_wheels.py`.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

_PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
# Raspberry Pi OS follows Debian: Bookworm has Python 3.11 and glibc 2.36, Trixie 3.13 and 2.41.
_SYSTEMS = {"3.11": 36, "3.13": 41}
_OLDEST_GLIBC = 17


def resolve(requirements: list[str], options: list[str], report: Path) -> str | None:
    """pip's complaint about the requirements; None where they resolve."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet"]
    command += ["--ignore-installed", "--only-binary=:all:", "--report", str(report)]
    done = subprocess.run(
        [*command, *options, *requirements], capture_output=True, text=True, timeout=600
    )
    return None if done.returncode == 0 else done.stderr


def platform_options(python: str, target: Path) -> list[str]:
    options = ["--python-version", python, "--implementation", "cp", "--target", str(target)]
    for minor in range(_SYSTEMS[python], _OLDEST_GLIBC - 1, -1):
        options += ["--platform", f"manylinux_2_{minor}_aarch64"]
    return [*options, "--platform", "manylinux2014_aarch64"]


@pytest.fixture(scope="module")
def _index(tmp_path_factory: pytest.TempPathFactory) -> None:
    if resolve(["tqdm"], [], tmp_path_factory.mktemp("index") / "report.json") is not None:
        pytest.skip("needs a package index")


@pytest.mark.usefixtures("_index")
@pytest.mark.parametrize("python", _SYSTEMS)
def test_base_dependencies_resolve_to_wheels(
    python: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]
    report = tmp_path / "report.json"
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["serve"], *extras["mqtt"]]
    complaint = resolve(wanted, platform_options(python, tmp_path), report)
    assert complaint is None, complaint
    wheels = {
        item["metadata"]["name"].lower(): item["download_info"]["url"].rpartition("/")[2]
        for item in json.loads(report.read_text())["install"]
    }
    with capsys.disabled():
        print(f"\nPython {python}, aarch64:", *sorted(wheels.values()), sep="\n  ")
    assert all(name.endswith(".whl") for name in wheels.values())
    # What has machine code in it: a wheel for every platform would be a mistake of this test.
    for name in ("numpy", "opencv-python", "ai-edge-litert"):
        assert wheels[name].endswith("_aarch64.whl")


@pytest.mark.usefixtures("_index")
def test_32_bit_systems_are_left_out(tmp_path: Path) -> None:
    """LiteRT has no wheel for them, as the guide says; the resolver run notices such a lack."""
    options = [text.replace("aarch64", "armv7l") for text in platform_options("3.11", tmp_path)]
    complaint = resolve(["ai-edge-litert"], options, tmp_path / "report.json")
    assert complaint is not None
    assert "No matching distribution found for ai-edge-litert" in complaint
