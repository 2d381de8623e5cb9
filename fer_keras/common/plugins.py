"""Finds what a folder offers: one file or sub-folder, one network, method, data set, study.

A file counts if it defines, at its top level, the name that is asked for, such as `build`. Its text
is read, it is not imported: a list costs no TensorFlow, and a name from an experiment file can
never reach a module outside the folder.
"""

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from fer_keras.common.errors import ConfigError, FerKerasError, did_you_mean

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def find_plugins(folder: Path, defines: str) -> dict[str, Path]:
    """The files of a folder that define a name at their top level.

    Args:
        folder: Of modules; a sub-folder counts with its `__init__.py`.
        defines: The function or variable that makes a file count.

    Returns:
        Module name -> its file, sorted by name.
    """
    files = {path.stem: path for path in folder.glob("*.py")}
    files |= {path.parent.name: path for path in folder.glob("*/__init__.py")}
    return {
        name: files[name]
        for name in sorted(files)
        if _NAME.fullmatch(name) and _defines(files[name], files[name].stat().st_mtime_ns, defines)
    }


def check_name(
    name: object, known: Iterable[str], what: str, error: type[FerKerasError] = ConfigError
) -> str:
    """A name that is known, or an error that lists the nearest.

    Args:
        name: What was asked for.
        known: The names that exist.
        what: What they are names of, such as `network`.
        error: The class of the error.

    Raises:
        FerKerasError: Of the class `error`, for an unknown name.
    """
    names = tuple(known)
    if not isinstance(name, str) or name not in names:
        raise error(f"Unknown {what} {name!r}. {did_you_mean(str(name), names)}")
    return name


def first_line(path: Path) -> str:
    """The first line of a file's docstring, empty where it has none.

    Args:
        path: A Python file.
    """
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n")[0]


@cache
def _defines(path: Path, modified: int, name: str) -> bool:
    """Whether a file defines a name; a changed file is read again."""
    del modified
    pattern = rf"^(?:def {re.escape(name)}\(|{re.escape(name)}\b[^=\n]*=)"
    return re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE) is not None
