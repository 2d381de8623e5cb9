"""What all pages of the project share: one file, no request, light and dark, printable.

Pictures are data URIs, charts are inline SVG, there is no script, and the content security policy
forbids a browser to load anything.
"""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

_ASSETS = Path(__file__).parent / "assets"


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
    shown = [section for section in sections if section[2]]
    style = "\n".join((_ASSETS / name).read_text("utf-8") for name in styles)
    links = "".join(f'<li><a href="#{key}">{name}</a></li>' for key, name, _ in shown)
    body = "".join(
        f'<section id="{key}" aria-labelledby="{key}-title">'
        f'<h2 id="{key}-title">{name}</h2>{html}</section>'
        for key, name, html in shown
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{text(title)}</title><style>\n{style}</style></head>"
        '<body><a class="skip" href="#main">Skip to the content</a>'
        f"<header><h1>{text(heading)}</h1>{lead}"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>'
        f'<main id="main">{body}</main></body></html>\n'
    )


def text(value: object) -> str:
    """Any text, harmless in HTML; a file name need not be valid text."""
    return escape(str(value).encode("utf-8", "replace").decode("utf-8"))


def scrolling(label: str, html: str) -> str:
    """A box that scrolls by itself, also by keyboard, so that the page never does sideways."""
    return f'<div class="wide" role="region" aria-label="{label}" tabindex="0">{html}</div>'


def svg(width: float, height: float, label: str, shapes: Sequence[str]) -> str:
    """An inline picture.

    Args:
        width: In pixels.
        height: In pixels.
        label: What it shows, for those who do not see it; HTML.
        shapes: SVG elements.
    """
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'role="img" aria-label="{label}">{"".join(shapes)}</svg>'
    )


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
