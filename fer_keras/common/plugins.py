"""Finds what a folder offers: one file or sub-folder, one network, method, data set, study.

A file counts if it defines, at its top level, the name that is asked for, such as `build`. Its text
is read, it is not imported: a list costs no TensorFlow, and a name from an experiment file can
never reach a module outside the folder.
"""

import ast
import importlib
import re
import sys
from collections.abc import Iterable
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

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


def is_own_file(name: object) -> bool:
    """Whether a name is the path of a file of the user's own, `path/to/mine.py`.

    Args:
        name: What stands in a setting.
    """
    return isinstance(name, str) and name.endswith(".py")


def load_plugin(
    name: object,
    package: str,
    folder: Path,
    defines: str,
    what: str,
    error: type[FerKerasError] = ConfigError,
) -> ModuleType:
    """The module of a name, or of a file of the user's own.

    Args:
        name: A module of the folder, or the path of a `.py` file.
        package: The folder as a package.
        folder: Where the modules lie.
        defines: The function or variable that makes a file count.
        what: What it is, such as `network`.
        error: The class of the error.

    Returns:
        The module; a file is run once, and again after it was changed.

    Raises:
        FerKerasError: Of the class `error`: an unknown name, or a file that is missing, fails, or
            does not define what it should.
    """
    if is_own_file(name):
        path = Path(str(name)).expanduser().resolve()
        if not path.is_file():
            raise error(f"{what}: expected a file of your own. There is none: {path}")
        if not _defines(path, path.stat().st_mtime_ns, defines):
            raise error(
                f"{what}: expected `{defines}` at the top level of the file, as in "
                f"{folder}/*.py (docs/own-parts.md). Received a file without it: {path}"
            )
        try:
            return _run_file(path, path.stat().st_mtime_ns)
        except FerKerasError:
            raise
        except Exception as fault:
            raise error(
                f"{what}: the file fails ({type(fault).__name__}: {fault}): {path}"
            ) from fault
    names = find_plugins(folder, defines)
    try:
        check_name(name, names, what, error)
    except FerKerasError as unknown:
        raise error(f"{unknown} A file of your own: path/to/mine.py.") from None
    return importlib.import_module(f"{package}.{name}")


def keyword_options(path: Path, function: str) -> tuple[str, ...]:
    """The keyword-only parameters of a function at the top level of a file, which is not run.

    Args:
        path: A Python file.
        function: Its name, such as `build`.

    Returns:
        Their names in order; empty where there is no such function.
    """
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return tuple(argument.arg for argument in node.args.kwonlyargs)
    return ()


@cache
def _run_file(path: Path, modified: int) -> ModuleType:
    """Runs a file of the user's own; a changed file is run again."""
    loader = SourceFileLoader(f"fer_keras_own_{path.stem}_{modified}", str(path))
    module = ModuleType(loader.name)
    module.__file__ = str(path)
    # Classes of the file are looked up there, by dataclasses for instance.
    sys.modules[loader.name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[loader.name]
        raise
    return module


def first_line(path: Path) -> str:
    """The first line of a file's docstring, empty where it has none.

    Args:
        path: A Python file.
    """
    return docstring(path).split("\n")[0]


def docstring(path: Path) -> str:
    """The docstring of a file, empty where it has none; the file is not run.

    Args:
        path: A Python file.
    """
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


@cache
def _defines(path: Path, modified: int, name: str) -> bool:
    """Whether a file defines a name; a changed file is read again."""
    del modified
    pattern = rf"^(?:def {re.escape(name)}\(|{re.escape(name)}\b[^=\n]*=)"
    return re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE) is not None
