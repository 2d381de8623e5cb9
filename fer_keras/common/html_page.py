"""What all pages of the project share: one file, no request, light and dark, printable.

Pictures are data URIs, charts are inline SVG, and the content security policy forbids a browser to
load anything. The HTML is in `templates/`, every page an extension of its `base.html`; Python says
what stands in it, as plain text that the templates escape.
"""

import base64
import functools
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Only who writes a page waits for its import.
    from jinja2 import Environment
    from markupsafe import Markup

_ASSETS = Path(__file__).parent / "assets"
_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: object) -> str:
    """A page or a part of one.

    Args:
        template: A file of `fer_keras/common/templates`, by name.
        **values: What it names; all text among it is escaped.

    Returns:
        HTML. Of a page: a document that refers to nothing outside itself.

    Raises:
        jinja2.UndefinedError: The template names a value that is not given.
    """
    return _environment().get_template(template).render(**values)


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


def document(
    title: str, heading: str, lead: str, sections: Sequence[tuple[str, str, str]], *styles: str
) -> str:
    """The whole page.

    Args:
        title: Of the window, plain text.
        heading: Of the page, plain text.
        lead: HTML between the heading and the list of sections.
        sections: Key, title (HTML), content (HTML); those without content are left out.
        *styles: Style sheets in `fer_keras/assets`, by name.

    Returns:
        An HTML document that refers to nothing outside itself.
    """
    from markupsafe import Markup

    return render(
        "sections.html",
        title=title,
        heading=heading,
        lead=Markup(lead),
        sections=[(key, Markup(name), Markup(html)) for key, name, html in sections],
        styles=styles,
    )


def text(value: object) -> str:
    """Any text, harmless in HTML; a file name need not be valid text."""
    return escape(str(value).encode("utf-8", "replace").decode("utf-8"))


def scrolling(label: str, html: str) -> str:
    """A box that scrolls by itself, also by keyboard, so that the page never does sideways."""
    return f'<div class="wide" role="region" aria-label="{label}" tabindex="0">{html}</div>'


def table(
    label: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1
) -> str:
    """A table whose first columns are text and whose others are numbers.

    Args:
        label: What it shows; HTML.
        header: HTML of the column heads.
        rows: HTML of the cells.
        texts: How many columns are text.
    """

    def row(cells: Sequence[str]) -> str:
        names = [f'<th scope="row">{cells[0]}</th>']
        names += [f'<td class="text">{cell}</td>' for cell in cells[1:texts]]
        return f"<tr>{''.join(names)}{''.join(f'<td>{cell}</td>' for cell in cells[texts:])}</tr>"

    head = "".join(
        f'<th scope="col"{" class=text" if place < texts else ""}>{cell}</th>'
        for place, cell in enumerate(header)
    )
    body = "".join(map(row, rows))
    return scrolling(label, f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def png_uri(data: bytes) -> str:
    """A PNG file as the `src` of a picture."""
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
