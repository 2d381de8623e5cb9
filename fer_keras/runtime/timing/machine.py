"""What a measurement was made on: processor, clock, temperature, system, versions.

Linux tells nearly everything in `/proc` and `/sys`; a Raspberry Pi's firmware adds through
`vcgencmd` whether it slowed the processor down. Elsewhere the missing entries are None.
"""

import contextlib
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_BOARD = Path("/proc/device-tree/model")
_CPU = Path("/sys/devices/system/cpu")
_PACKAGES = ("ai-edge-litert", "numpy", "opencv-python", "opencv-python-headless")
_VCGENCMD_TIMEOUT_S = 2.0
# `vcgencmd get_throttled`, as the Raspberry Pi documentation numbers the bits.
_THROTTLED_BITS = {
    0: "under-voltage now",
    1: "clock capped now",
    2: "throttled now",
    3: "soft temperature limit now",
    16: "under-voltage since the start",
    17: "clock capped since the start",
    18: "throttled since the start",
    19: "soft temperature limit since the start",
}


def describe_machine() -> dict[str, Any]:
    """Describe this machine, for a file of measurements.

    Returns:
        `board` (of a single-board computer), `processor`, `cores`, `usable_cores`, `governor`,
        `max_mhz`, `memory_mib`, `system`, `kernel`, `architecture`, `python` and `packages`
        (name -> version); None where the system does not tell. JSON-ready.
    """
    return {
        "board": _read(_BOARD),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "governor": _read(_CPU / "cpu0/cpufreq/scaling_governor"),
        "max_mhz": _thousandth(_CPU / "cpu0/cpufreq/cpuinfo_max_freq"),
        "memory_mib": _memory_mib(),
        "system": _system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "packages": _packages(),
    }


def machine_name() -> str:
    """The board, or else the processor, by what the system calls it, and the architecture."""
    name, architecture = _read(_BOARD) or _processor(), platform.machine()
    return f"{name} ({architecture})" if name else architecture


def usable_cores() -> int:
    """Cores that this process may use, which containers and batch systems limit; at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def machine_state() -> dict[str, Any]:
    """What changes while a measurement runs.

    Returns:
        `load_average` (processes that ran or waited in the last minute), `mhz` (of the first core),
        `temperature_c` and `throttled` (a list of the firmware's warnings, empty where all is
        well); None where the system does not tell. JSON-ready.
    """
    with contextlib.suppress(OSError, AttributeError):
        return {"load_average": round(os.getloadavg()[0], 2), **_sensors()}
    return {"load_average": None, **_sensors()}


def peak_memory_mib() -> float | None:
    """The most memory that this process has held so far (VmHWM), in MiB; None but on Linux."""
    for line in (_read(Path("/proc/self/status")) or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return None


def summary(machine: dict[str, Any]) -> str:
    """One line of `describe_machine`'s facts, without those that are not known."""
    cores, usable = machine["cores"], machine["usable_cores"]
    of_cores = f"{usable} of {cores} cores" if usable != cores else f"{cores} cores"
    parts = [
        machine["board"],
        machine["processor"],
        of_cores,
        machine["governor"] and f"governor {machine['governor']}",
        machine["system"],
        machine["architecture"],
        f"Python {machine['python']}",
    ]
    litert = machine["packages"].get("ai-edge-litert")
    return ", ".join([str(part) for part in parts if part] + [f"LiteRT {litert}"])


def throttled_warnings(code: int) -> list[str]:
    """The firmware's warnings behind the number that `vcgencmd get_throttled` prints."""
    return [text for bit, text in _THROTTLED_BITS.items() if code >> bit & 1]


def _sensors() -> dict[str, Any]:
    return {
        "mhz": _thousandth(_CPU / "cpu0/cpufreq/scaling_cur_freq"),
        "temperature_c": _thousandth(Path("/sys/class/thermal/thermal_zone0/temp")),
        "throttled": _throttled(),
    }


def _throttled() -> list[str] | None:
    command = shutil.which("vcgencmd")
    if command is None:
        return None
    try:
        done = subprocess.run(
            [command, "get_throttled"],
            capture_output=True,
            text=True,
            timeout=_VCGENCMD_TIMEOUT_S,
            check=True,
        )
        return throttled_warnings(int(done.stdout.strip().partition("=")[2], 16))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _processor() -> str | None:
    # x86 kernels name the model, those of ARM boards mostly do not.
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("model name", "hardware") and value.strip():
            return value.strip()
    return platform.processor() or None


def _memory_mib() -> int | None:
    for line in (_read(Path("/proc/meminfo")) or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return None


def _system() -> str:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{platform.system()} {platform.release()}"


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _thousandth(path: Path) -> float | None:
    """A file that holds kHz or millidegrees, as MHz or degrees."""
    text = _read(path)
    return int(text) / 1000 if text is not None and text.lstrip("-").isdecimal() else None


def _read(path: Path) -> str | None:
    """A kernel file as text, without the end that C strings have; None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return None
