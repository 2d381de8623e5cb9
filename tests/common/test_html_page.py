"""The templates of all pages: escaped, self-contained, in the wheel, and no burden on a command."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fer_keras
from fer_keras.common.html_page import render
from fer_keras.runtime.stream.video_report import VideoReport

PACKAGE = Path(fer_keras.__file__).parent
HOSTILE = "<script>alert('x')</script>\"\udce9"


def test_html_is_in_templates_alone() -> None:
    tags = re.compile(r"<(!doctype|p|div|table|td|h3|figure)[ >]", re.IGNORECASE)
    holding = [path for path in PACKAGE.rglob("*.py") if tags.search(path.read_text("utf-8"))]
    assert holding == []


def test_all_text_is_escaped_and_made_valid() -> None:
    page = render(
        "sections.html",
        title=HOSTILE,
        heading=HOSTILE,
        lead=HOSTILE,
        sections=[("key", HOSTILE, HOSTILE), ("empty", "left out", "")],
        styles=["data_page.css"],
    )
    assert page.startswith("<!DOCTYPE html>")
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 6
    assert "left out" not in page
    page.encode("utf-8")


def test_a_value_that_is_missing_is_an_error_and_no_gap() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError, match="heading"):
        render("sections.html", title="a", lead="", sections=[], styles=[])


def test_only_who_has_a_script_may_run_one(tmp_path: Path) -> None:
    values = {"title": "a", "heading": "a", "lead": "", "sections": [], "styles": []}
    assert "script-src" not in render("sections.html", **values)
    path = tmp_path / "page.html"
    VideoReport(["anger", HOSTILE]).write(path, HOSTILE, [HOSTILE])
    page = path.read_text("utf-8")
    assert "script-src 'unsafe-inline'" in page
    assert page.count("<script") == 1


def test_the_wheel_has_every_template() -> None:
    if not (PACKAGE.parent / "pyproject.toml").is_file():
        pytest.skip("not a checkout")
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["fer_keras"]
    covered = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    assert {path for path in PACKAGE.rglob("*.html") if "static" not in path.parts} <= covered


@pytest.mark.parametrize("command", ["predict", "report", "compare", "data"])
def test_a_command_loads_jinja_only_to_write_a_page(command: str) -> None:
    code = (
        "import contextlib, runpy, sys; sys.argv = ['x', '--help']\n"
        f"with contextlib.suppress(SystemExit): runpy.run_module('fer_keras.{command}', "
        "run_name='__main__')\n"
        "sys.exit('jinja2' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "usage:" in ran.stdout
