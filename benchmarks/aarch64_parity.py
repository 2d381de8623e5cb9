"""The runtime on aarch64, under emulation: are the answers those of this machine?

Builds a folder with Debian's arm64 Python and the aarch64 wheels of the base install, runs every
precision of an export on the same crops here and there, and compares the probabilities; then,
with `--tests`, runs the runtime's tests there. It says nothing about speed.

It needs Debian or its like with apt-get, dpkg-deb and pip, no root and no chroot: qemu's user mode
looks for the programs' own files in the folder first. The emulator is taken from Debian 13: version
7.2 of Debian 12 dies while LiteRT makes an interpreter. The emulated processors are those of the
Raspberry Pi 4 (cortex-a72) and 5 (cortex-a76), which choose different int8 kernels in LiteRT.

  python benchmarks/aarch64_parity.py runs/NAME/export --work ~/aarch64 --dataset ferplus
  python benchmarks/aarch64_parity.py runs/NAME/export --work ~/aarch64 --suite trixie --tests
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_keras.common.errors import ConfigError, run_command
from fer_keras.common.files import write_text
from fer_keras.data.load import load_samples
from fer_keras.runtime.export_files import read_model_files

ROOT = Path(__file__).parents[1]
PYTHON_OF_SUITE = {"bookworm": "3.11", "trixie": "3.13"}
PROCESSORS = ("cortex-a72", "cortex-a76")
_EMULATOR_SUITE = "trixie"
_SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
_SYSTEM_PACKAGES = ("python3", "libgl1", "libglib2.0-0")
_WHEEL_PLATFORMS = (
    *(f"manylinux_2_{minor}_aarch64" for minor in range(36, 16, -1)),
    "manylinux2014_aarch64",
)
# Times and memory of an emulator are not those of a processor, and the emulated Python cannot start
# itself again: this machine does not know such programs.
_NOT_EMULATED = (
    "tests/runtime/test_footprint.py",
    "tests/runtime/test_recognizer.py::test_runs_without_a_training_stack_and_writes_nothing",
)
_PREDICT = """
import sys
import numpy as np
from fer_keras import Recognizer
model, precision, crops, answers = sys.argv[1:]
recognizer = Recognizer(model, detector="none", precision=precision)
np.save(answers, recognizer.predict_proba(np.load(crops)))
"""
# The tests make their models with TensorFlow, which is not there: the first run keeps them.
_KEPT_MODELS = """
import hashlib
import os
from pathlib import Path
import tiny_models

make, folder = tiny_models.tflite, Path(os.environ["KEPT_MODELS"])

def kept(*args, **settings):
    name = hashlib.sha256(repr((args, sorted(settings.items()))).encode()).hexdigest()
    path = folder / name
    if not path.exists():
        path.write_bytes(make(*args, **settings))
    return path.read_bytes()

tiny_models.tflite = kept
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the comparison.

    Args:
        argv: Arguments without the program's name; None takes the command line's.

    Returns:
        Exit code: 0; 1 where the tests failed on aarch64.

    Raises:
        FerKerasError: The model cannot be used, or the system has no Debian packages.
    """
    arguments = _parser().parse_args(argv)
    work: Path = arguments.work.resolve()
    target = Target(work, arguments.suite)
    samples = load_samples(arguments.dataset, "validation", limit=arguments.limit)
    rows = compare(arguments.model.resolve(), samples.images, target, arguments.precision)
    print(f"{samples.name}, {samples.split}, {len(samples)} crops, {target.version()}")
    print(markdown(rows))
    if arguments.output:
        write_text(arguments.output, json.dumps(rows, indent=2) + "\n")
    return run_tests(target) if arguments.tests else 0


class Target:
    """A folder with an aarch64 Python and the base install, and the emulator that runs it.

    Args:
        work: Where it is built the first time, some 1 GB; later runs find it there.
        suite: Debian's name: "bookworm" or "trixie".

    Raises:
        ConfigError: There are no Debian packages here.
    """

    def __init__(self, work: Path, suite: str) -> None:
        if not _SOURCES.is_file():
            raise ConfigError(f"expected Debian's package sources, found none: {_SOURCES}")
        self._system = work / suite
        self.wheels = work / f"{suite}-wheels"
        emulator = work / "emulator"
        _unpack_packages(emulator, _EMULATOR_SUITE, None, ["qemu-user"])
        self._emulator = emulator / "usr" / "bin" / "qemu-aarch64"
        _unpack_packages(self._system, suite, "arm64", _SYSTEM_PACKAGES)
        _install_wheels(self.wheels, PYTHON_OF_SUITE[suite])
        self._python = self._system / "usr" / "bin" / f"python{PYTHON_OF_SUITE[suite]}"

    def run(
        self, arguments: Sequence[str], processor: str, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the aarch64 Python in the repository's folder.

        Args:
            arguments: Of Python.
            processor: As `qemu-aarch64 -cpu help` lists them.
            environment: Further variables.
        """
        variables = {
            **os.environ,
            "QEMU_LD_PREFIX": str(self._system),
            "QEMU_CPU": processor,
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests", self.wheels))),
            "PYTHONDONTWRITEBYTECODE": "1",
            **(environment or {}),
        }
        command = [str(self._emulator), str(self._python), *arguments]
        return subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True)

    def version(self) -> str:
        """Machine, Python and LiteRT of the target."""
        code = (
            "import platform; from importlib.metadata import version; print(platform.machine(), "
            "'Python', platform.python_version(), 'LiteRT', version('ai-edge-litert'))"
        )
        return self.run(["-c", code], PROCESSORS[0]).stdout.strip()


def compare(
    model: Path, crops: NDArray[np.uint8], target: Target, precision: str | None = None
) -> list[dict[str, Any]]:
    """Every precision here and on every processor there.

    Args:
        model: Export folder.
        crops: uint8 `(n, height, width, 1)`.
        target: Where to run it.
        precision: One of the folder's; None for all.

    Returns:
        For each precision and processor: `max_difference` of the probabilities, `equal` (share of
        the pictures whose probabilities are all equal, bit for bit) and `same_arg_max` (share).

    Raises:
        ConfigError: The model does not run there; with the last line of what was said.
    """
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        crops_file, answers_file = Path(scratch, "crops.npy"), Path(scratch, "answers.npy")
        np.save(crops_file, crops)
        all_precisions = read_model_files(model).manifest["precision_files"]
        for name in [precision] if precision else all_precisions:
            script = ["-c", _PREDICT, str(model), name, str(crops_file), str(answers_file)]
            subprocess.run([sys.executable, *script], check=True, cwd=ROOT, capture_output=True)
            here = np.load(answers_file)
            for processor in PROCESSORS:
                done = target.run(script, processor)
                if done.returncode:
                    last = done.stderr.strip().splitlines()[-1:]
                    raise ConfigError(f"{name} on {processor} failed: {''.join(last)}")
                there = np.load(answers_file)
                rows.append(
                    {
                        "precision": name,
                        "processor": processor,
                        "n": len(here),
                        "max_difference": float(np.abs(here - there).max()),
                        "equal": float((here == there).all(axis=1).mean()),
                        "same_arg_max": float((here.argmax(1) == there.argmax(1)).mean()),
                    }
                )
    return rows


def run_tests(target: Target) -> int:
    """The tests of the runtime and of the faces: here, to keep their models, and there.

    Args:
        target: Where to run them.

    Returns:
        pytest's exit code there.
    """
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "kept_models.py").write_text(_KEPT_MODELS, encoding="utf-8")
        tests = ["-m", "pytest", "-p", "kept_models", "-p", "no:cacheprovider", "tests/runtime"]
        tests += ["tests/faces"]
        for left_out in _NOT_EMULATED:
            tests += ["--deselect", left_out]
        folders = f"{scratch}{os.pathsep}{ROOT / 'tests'}{os.pathsep}{ROOT}"
        here = {**os.environ, "KEPT_MODELS": scratch, "PYTHONPATH": folders}
        subprocess.run([sys.executable, *tests], env=here, cwd=ROOT, check=True)
        wheels = os.pathsep.join((folders, str(target.wheels)))
        there = {"KEPT_MODELS": scratch, "PYTHONPATH": wheels}
        done = target.run(tests, PROCESSORS[-1], there)
        print(done.stdout, done.stderr, sep="\n")
        return done.returncode


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The comparison as a Markdown table."""
    lines = [
        "| file | processor | crops | largest difference | equal bit for bit | same arg max |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['precision']} | {row['processor']} | {row['n']} | {row['max_difference']:.1e} "
        f"| {row['equal']:.2%} | {row['same_arg_max']:.2%} |"
        for row in rows
    ]
    return "\n".join(lines)


def _unpack_packages(
    folder: Path, suite: str, architecture: str | None, names: Sequence[str]
) -> None:
    """Debian packages with all they need, in a folder; for the emulator without dependencies."""
    done = folder / ".complete"
    if done.exists():
        return
    state, sources = folder / "apt", folder / "apt" / "debian.sources"
    for part in ("state/lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    fields = dict(
        line.partition(": ")[::2]
        for line in reversed(_SOURCES.read_text(encoding="utf-8").splitlines())
        if ": " in line and not line.startswith("#")
    )
    fields |= {"Suites": suite}
    sources.write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
    options = {
        "Dir::State": state / "state",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "",
    }
    if architecture:
        options |= {"APT::Architecture": architecture, "APT::Architectures": architecture}
    apt = ["apt-get", "-q", *(f"-o{key}={value}" for key, value in options.items())]
    archives = state / "cache" / "archives"
    _check_run([*apt, "update"])
    if architecture:
        _check_run([*apt, "install", "--yes", "--download-only", *names])
    else:
        _check_run([*apt, "download", *names], cwd=archives)
    for archive in sorted(archives.glob("*.deb")):
        _check_run(["dpkg-deb", "-x", str(archive), str(folder)])
    # Since Debian 13 the packages rely on this link, which the base system brings.
    if not (folder / "lib").exists():
        (folder / "lib").symlink_to("usr/lib")
    done.touch()


def _install_wheels(folder: Path, python: str) -> None:
    done = folder / ".complete"
    if done.exists():
        return
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    options = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for platform in _WHEEL_PLATFORMS:
        options += ["--platform", platform]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
    _check_run([*pip, *options, *project["dependencies"], "pandas", "pytest"])
    done.touch()


def _check_run(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise ConfigError(f"{' '.join(command[:3])} failed: {''.join(last)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="export folder")
    parser.add_argument(
        "--work", type=Path, required=True, metavar="DIR", help="where the aarch64 system is built"
    )
    parser.add_argument(
        "--suite", choices=tuple(PYTHON_OF_SUITE), default="bookworm", help="default: bookworm"
    )
    parser.add_argument("--dataset", default="synthetic_faces", help="default: synthetic_faces")
    parser.add_argument("--limit", type=int, default=500, metavar="N", help="crops (default: 500)")
    parser.add_argument("--precision", metavar="NAME", help="one of the folder's (default: all)")
    parser.add_argument("--tests", action="store_true", help="also run the runtime's tests there")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the rows as JSON too")
    return parser


if __name__ == "__main__":
    run_command(main)
