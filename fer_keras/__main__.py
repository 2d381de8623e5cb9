"""All commands under one name: `fer_keras COMMAND ...`, also as `python -m fer_keras COMMAND ...`.

`fer_keras train ...` is `python -m fer_keras.train ...`: only the chosen command is imported.
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import fer_keras
from fer_keras.common.errors import run_command
from fer_keras.common.plugins import check_name, find_plugins, first_line

_ROOT = Path(__file__).parent
# Rooms that are commands too.
_ROOMS = ("data", "models")
# In the order in which a newcomer needs them; others follow by name.
_ORDER = ("predict", "camera", "web", "train", "evaluate", "compare", "report", "ui", "export")


def commands() -> dict[str, str]:
    """The commands there are: every module of the package's root with a `main`, and two rooms.

    Returns:
        Name -> what it does, in one line.
    """
    files = find_plugins(_ROOT, "main") | {room: _ROOT / room / "__main__.py" for room in _ROOMS}
    ranks = {name: rank for rank, name in enumerate(_ORDER)}
    names = sorted(files, key=lambda name: (ranks.get(name, len(ranks)), name))
    # How the command is called stands behind the colon, and is said once for all of them.
    return {name: first_line(files[name]).split(": `")[0].rstrip(".") for name in names}


def main(argv: Sequence[str] | None = None) -> int:
    """List the commands, or run one.

    Args:
        argv: The command's name and its arguments; None takes the command line's.

    Returns:
        The exit code of the command.

    Raises:
        ConfigError: There is no such command.
        FerKerasError: What the command raises.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["--version"]:
        print(f"fer_keras {fer_keras.__version__}")
        return 0
    if not words or words[0] in ("-h", "--help", "help"):
        print(_listing())
        return 0
    name = check_name(words[0], commands(), "command")
    module = f"fer_keras.{name}.__main__" if name in _ROOMS else f"fer_keras.{name}"
    return int(importlib.import_module(module).main(words[1:]))


def run() -> None:
    """The console script."""
    run_command(main)


def _listing() -> str:
    lines = commands()
    width = max(map(len, lines))
    listed = "\n".join(f"  {name:<{width}}  {line}" for name, line in lines.items())
    return (
        f"usage: fer_keras COMMAND ...\n\n{listed}\n\n"
        "fer_keras COMMAND --help says more. First: fer_keras predict photo.jpg"
    )


if __name__ == "__main__":
    run()
