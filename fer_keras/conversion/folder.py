"""The folder of an export: what may be replaced, what it holds, and how it takes its place."""

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ExportError

# Of taking a place that other exports want at the same moment.
_ATTEMPTS = 100


def check_target(target: Path) -> None:
    """Refuses a folder that holds anything but an earlier export.

    Args:
        target: Where an export is to go; may be missing.

    Raises:
        ExportError: It holds something else, or is a file.
    """
    if target.is_dir() and any(target.iterdir()) and not (target / "manifest.json").is_file():
        raise ExportError(
            f"The folder is neither empty nor an export; choose another --output: {target}"
        )
    if target.exists() and not target.is_dir():
        raise ExportError(f"Expected a folder for the export. Received a file: {target}")


def file_table(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and sha256 of every file of a folder, by its path inside."""
    table = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            table[path.relative_to(folder).as_posix()] = {
                "sha256": hashlib.sha256(data).hexdigest(),
                "bytes": len(data),
            }
    return table


def publish(building: Path, target: Path) -> None:
    """Gives the finished folder its name; the old one stays until then.

    Of several exports that are published to one place at the same moment the last one stays, whole.

    Args:
        building: A complete folder beside `target`.
        target: Its name from now on; an earlier export there is removed.

    Raises:
        OSError: The folder cannot be renamed; the earlier export is unchanged.
    """
    building.chmod(0o755)  # Temporary folders are made for their owner alone.
    for path in building.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    old = building.with_name(f"{building.name}.old")
    # Another export may take the place, or clear it, between any two of these steps.
    for attempt in range(_ATTEMPTS):
        if not target.exists():
            try:
                building.rename(target)
                return
            except OSError:
                if not target.exists() or attempt == _ATTEMPTS - 1:
                    raise
                continue
        try:
            target.rename(old)
        except FileNotFoundError:
            continue
        try:
            building.rename(target)
        except OSError:
            if not target.exists():
                old.rename(target)
                raise
            shutil.rmtree(old, ignore_errors=True)
            continue
        shutil.rmtree(old, ignore_errors=True)
        return
    raise OSError(errno.EBUSY, "other exports kept taking the place", str(target))
