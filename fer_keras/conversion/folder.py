"""The folder of an export: what may be replaced, what it holds, and how it takes its place."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from fer_keras.common.errors import ExportError


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
    if not target.exists():
        building.rename(target)
        return
    old = building.with_name(f"{building.name}.old")
    target.rename(old)
    try:
        building.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
