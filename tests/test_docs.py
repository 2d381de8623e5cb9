"""The files and modules that pages name are there."""

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_PAGES = (
    _ROOT / "README.md",
    _ROOT / "CONTRIBUTING.md",
    _ROOT / "saved_models" / "README.md",
    *sorted((_ROOT / "docs").rglob("*.md")),
    *sorted((_ROOT / "docs").glob("*.ipynb")),
)
_FOLDERS = "fer_keras|experiments|tests|benchmarks|docs"
# Where a slash or a letter stands before it, it is the end of another path.
_PATH = re.compile(rf"(?<![\w/.$~-])(?:\.\./)?((?:{_FOLDERS})/[\w/.-]*\w)")
_MODULE = re.compile(r"(?<![\w/.])fer_keras((?:\.[A-Za-z_]\w*)+)")
# Folders beside the package that a wheel has inside it.
_IN_THE_WHEEL = (".experiments", ".saved_models")
# What a reader's own file or camera is called, and what a command fetches.
_NOT_THERE = ("NAME", "mine", "living_room", "runtime/web/static/vendor")


def _is_named(parts: list[str]) -> bool:
    """Whether this is a module, or a name that a module or the package has."""
    path = _ROOT / "fer_keras"
    for number, part in enumerate(parts):
        if (path / part / "__init__.py").is_file():
            path = path / part
            continue
        if (path / f"{part}.py").is_file():
            path = path / f"{part}.py"
        else:
            number -= 1
            path = path / "__init__.py"
        rest = parts[number + 1 :]
        return not rest or re.search(rf"\b{rest[0]}\b", path.read_text("utf-8")) is not None
    return True


@pytest.mark.parametrize("page", _PAGES, ids=lambda path: path.relative_to(_ROOT).as_posix())
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    paths = {path for path in _PATH.findall(text) if not any(name in path for name in _NOT_THERE)}
    missing = sorted(path for path in paths if not (_ROOT / path).exists())
    names = {name for name in _MODULE.findall(text) if name not in _IN_THE_WHEEL}
    missing += sorted(f"fer_keras{name}" for name in names if not _is_named(name[1:].split(".")))
    assert not missing, f"{page.name} names what is not there: {', '.join(missing)}"


def test_a_module_that_moved_is_noticed() -> None:
    assert _is_named(["runtime", "faces", "track"])
    assert _is_named(["common", "metrics", "wilson_interval"])
    assert _is_named(["Recognizer"])
    assert not _is_named(["faces", "track"])
    assert not _is_named(["common", "metrics", "no_such_figure"])
