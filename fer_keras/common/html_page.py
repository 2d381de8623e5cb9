"""What all pages of the project share: one file, no request, light and dark, printable.

Pictures are data URIs, charts are inline SVG, and the content security policy forbids a browser to
load anything. The HTML is in `templates/`, every page an extension of its `base.html`; Python says
what stands in it, as plain text that the templates escape.
"""

import base64
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Only who writes a page waits for its import.
    from jinja2 import Environment
    from markupsafe import Markup

_ASSETS = Path(__file__).parent / "assets"
_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: object) -> "Markup":
    """A page or a part of one.

    Args:
        template: A file of `fer_keras/common/templates`, by name.
        **values: What it names; all text among it is escaped.

    Returns:
        HTML, which other templates take as it is. Of a page: a document that refers to nothing
        outside itself.

    Raises:
        jinja2.UndefinedError: The template names a value that is not given.
    """
    from markupsafe import Markup

    return Markup(_environment().get_template(template).render(**values))


@functools.cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_valid,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["commas"] = "{:,}".format
    environment.globals.update(asset=_asset, script=None)
    return environment


def _asset(name: str) -> "Markup":
    from markupsafe import Markup

    return Markup((_ASSETS / name).read_text("utf-8"))


def _valid(value: Any) -> Any:
    """A file name need not be valid text, a page has to be."""
    if type(value) is str:
        return value.encode("utf-8", "replace").decode("utf-8")
    return value


def png_uri(data: bytes) -> str:
    """A PNG file as the `src` of a picture."""
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
