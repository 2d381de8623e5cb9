"""Makes docs/fidelity.md of the declarations beside networks, methods and experiments.

python docs/fidelity_page.py            print it
python docs/fidelity_page.py --write    write it
"""

import argparse
import importlib
from collections.abc import Iterable
from pathlib import Path

from fer_keras.common.plugins import find_plugins
from fer_keras.config import Deviation, deviations_of, list_experiments

PAGE = Path(__file__).with_name("fidelity.md")
_PACKAGE = Path(__file__).parents[1] / "fer_keras"
_HEAD = """# What differs from the sources

Networks, methods and experiments name where they come from. Here is what they do otherwise, and
why. What is not listed is as the source, its paper or its program, has it. The page is made by
`python docs/fidelity_page.py --write` from the declarations `DEVIATIONS` and `deviations` in the
files themselves. How near the networks' answers are: [published-weights.md](published-weights.md).
"""


def page() -> str:
    """The whole page.

    Returns:
        Markdown text.
    """
    parts = [_HEAD]
    for folder, title in (("models", "Networks"), ("methods", "Methods")):
        parts.append(f"## {title}\n")
        for name in find_plugins(_PACKAGE / folder, "build"):
            module = importlib.import_module(f"fer_keras.{folder}.{name}")
            parts += _table(f"`{name}`", getattr(module, "DEVIATIONS", ()))
    parts.append("## Experiments\n")
    # Experiments with the same deviations share a table.
    shared: dict[tuple[Deviation, ...], list[str]] = {}
    for name in list_experiments():
        if found := deviations_of(name):
            shared.setdefault(found, []).append(f"`{name}`")
    for deviations, names in shared.items():
        parts += _table(", ".join(names), deviations)
    return "\n".join(parts).rstrip() + "\n"


def _table(title: str, deviations: Iterable[Deviation]) -> list[str]:
    rows = [f"| {d.part} | {d.theirs} | {d.ours} | {d.why} |" for d in deviations]
    if not rows:
        return []
    return [f"### {title}\n", "| | source | here | why |", "|---|---|---|---|", *rows, ""]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page())
