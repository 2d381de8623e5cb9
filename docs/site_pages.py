"""Makes the pages of the site that come from the code, and the navigation (a hook of MkDocs).

A page for each model, data set, method and study, one with all experiments, one with the `--help`
of every command. README.md becomes the first page, CONTRIBUTING.md the last, the cards of the
shipped models theirs. Nothing is imported that needs TensorFlow: the site builds in seconds.
"""

import argparse
import ast
import contextlib
import importlib
import io
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).parents[1]
_REPOSITORY_FILES = re.compile(r"\[([^\]]+)\]\((?:LICENSE|saved_models/README\.md)\)")

# In the order in which they are read.
_TUTORIALS = ("own-data", "finetune", "compare", "on-a-pi")

# Modules whose public names people use in programs.
_API = {
    "fer_keras.runtime.recognizer": "Recognizer: faces and expressions in pictures",
    "fer_keras.config": "Experiments and their settings",
    "fer_keras.data.samples": "Samples and facts of a data set",
    "fer_keras.loading": "Reading model files",
    "fer_keras.common.metrics": "Figures of a classifier",
    "fer_keras.studies.shared.maps": "Heatmaps",
    "fer_keras.studies.robustness.corruptions": "Corruptions",
    "fer_keras.evaluation.thresholds": "Unsure answers and label sets",
    "fer_keras.common.errors": "Errors",
}

_RESULTS = Path(__file__).parent / "results"
_MEASURED_HEAD = (
    "On the validation split, which chose the epoch. Milliseconds for one face on one thread, as a "
    "float32 TFLite file, on the machine of [the comparisons](../compare.md).\n\n"
    "| Experiment | Labels | Accuracy [95 %] | n | Parameters | Size of the Keras file | ms |\n"
    "|---|---|---|---:|---:|---:|---:|\n"
)
_UNSEEN = (
    "It was not trained here, so no score is known. Speed and size of networks that were not "
    "trained: `python benchmarks/network_speed.py`."
)


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages to those of the folder `docs`."""
    os.environ["COLUMNS"] = "90"  # argparse folds its text to the terminal
    pages = {
        "index.md": _front_page("README.md"),
        "contributing.md": _front_page("CONTRIBUTING.md"),
        "experiments.md": _experiments(),
        "commands.md": _commands(),
        **_models(),
        **_methods(),
        **_data_sets(),
        **_studies(),
        **_cards(),
        **{f"api/{name}.md": _module_page(name, title) for name, title in _API.items()},
    }
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    config["nav"] = _navigation(sorted(pages))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Leads links out of the folder `docs` to where their targets are on the site."""
    markdown = re.sub(r"\]\(\.\./README\.md", "](index.md", markdown)
    markdown = re.sub(r"\]\(\.\./CONTRIBUTING\.md", "](contributing.md", markdown)
    return re.sub(r"\]\(\.\./saved_models/([a-z0-9_]+)/card\.md", r"](shipped/\1.md", markdown)


def _navigation(pages: Iterable[str]) -> list[dict[str, Any]]:
    docs = Path(__file__).parent
    guides = sorted(path.name for path in docs.glob("*.md"))
    tutorials = [f"tutorials/{name}.md" for name in _TUTORIALS]

    def below(folder: str) -> list[str]:
        return [page for page in pages if page.startswith(f"{folder}/")]

    return [
        {"Start": "index.md"},
        {"Tutorials": tutorials},
        {"Guides": guides},
        {"Commands": "commands.md"},
        {"Experiments": "experiments.md"},
        {"Models": below("models")},
        {"Methods": below("methods")},
        {"Data sets": below("datasets")},
        {"Studies": below("studies")},
        {"Shipped models": below("shipped")},
        {"In programs": below("api")},
        {"Contributing": "contributing.md"},
    ]


def _front_page(name: str) -> str:
    """A page that lies beside the folder `docs`, with links as they are on the site."""
    text = (_ROOT / name).read_text(encoding="utf-8")
    text = _REPOSITORY_FILES.sub(r"\1", text)
    text = re.sub(r"\]\(README\.md", "](index.md", text)
    text = re.sub(r"\]\(CONTRIBUTING\.md", "](contributing.md", text)
    text = re.sub(r"\]\(docs/results\)", "](commands.md)", text)
    text = re.sub(r"\]\(docs/", "](", text)
    return re.sub(r"\]\(saved_models/([a-z0-9_]+)/card\.md", r"](shipped/\1.md", text)


def _cards() -> dict[str, str]:
    cards = sorted(_ROOT.glob("saved_models/*/card.md"))
    return {f"shipped/{path.parent.name}.md": path.read_text(encoding="utf-8") for path in cards}


def _models() -> dict[str, str]:
    from fer_keras.config import list_experiments, load_experiment
    from fer_keras.models import list_networks

    experiments = [load_experiment(name) for name in list_experiments()]
    pages = {}
    for name in list_networks():
        trained = [each for each in experiments if each.network.name == name]
        measured = [line for each in trained for line in _measured_runs(each.name)]
        parts = [f"# {name}", f"`fer_keras.models.{name}`"]
        if trained:
            listed = "\n".join(f"python -m fer_keras.train --exp {each.name}" for each in trained)
            parts += ["## Train it", _preformatted(listed, "bash")]
        parts += ["## Measured here", _MEASURED_HEAD + "\n".join(measured) if measured else _UNSEEN]
        parts += ["## Build it", f"::: fer_keras.models.{name}"]
        pages[f"models/{name}.md"] = "\n\n".join(parts) + "\n"
    return pages


def _measured_runs(experiment: str) -> list[str]:
    """A row for each result file of an experiment, with size and speed where it was compared."""
    compared = {
        row["name"]: row
        for path in sorted((_RESULTS / "comparison").glob("*.json"))
        for row in json.loads(path.read_text("utf-8"))["models"]
    }
    lines = []
    for path in sorted(_RESULTS.glob("*.json")):
        result = json.loads(path.read_text("utf-8"))
        if result["experiment"] != experiment:
            continue
        low, high = result["accuracy_interval"]
        row = compared.get(f"{experiment} seed {result['seed']}", {})
        ms = f"{row['ms_per_face']:.2f}" if row.get("ms_per_face") else ""
        size = f"{row['bytes'] / 1e6:.1f} MB" if row else ""
        cells = [
            f"`{result['command'].removeprefix('python -m fer_keras.train ')}`",
            f"{result['dataset']}, {result['label_rule']}",
            f"{result['accuracy']:.4f} [{low:.4f}, {high:.4f}]", f"{result['n']:,}",
            f"{result['trainable_parameters']:,}", size, ms,
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _methods() -> dict[str, str]:
    folder = _ROOT / "fer_keras" / "methods"
    names = sorted(p.stem for p in folder.glob("*.py") if p.stem not in ("__init__", "base"))
    return {f"methods/{n}.md": _module_page(f"fer_keras.methods.{n}", n) for n in names}


def _module_page(module: str, title: str) -> str:
    """A heading, and what mkdocstrings reads out of the source."""
    return f"# {title}\n\n`{module}`\n\n::: {module}\n"


def _data_sets() -> dict[str, str]:
    from fer_keras.data import list_datasets
    from fer_keras.data.load import describe

    return {f"datasets/{name}.md": _data_set(describe(name)) for name in list_datasets()}


def _data_set(info: Any) -> str:
    votes = (
        " A label rule turns the votes of its annotators into targets." if info.has_votes else ""
    )
    lines = [
        f"# {info.name}", "", f"{info.title}.{votes}", "",
        "| Class | Code | " + " | ".join(info.official_counts) + " |",
        "|---|---|" + "---:|" * len(info.official_counts),
    ]  # fmt: skip
    code_of = {emotion: code for code, emotion in info.codes.items()}
    for name in info.class_names:
        counts = [f"{of_split.get(name, 0):,}" for of_split in info.official_counts.values()]
        lines.append("| " + " | ".join([name, f"`{code_of.get(name, '')}`", *counts]) + " |")
    if not info.class_names:
        lines = [*lines[:4], "The classes are those of the folders."]
    lines += ["", "## Terms", "", info.licence, ""]
    if info.citation:
        lines += ["## Source", "", info.citation, ""]
    lines += ["## How to get it", "", _preformatted(info.how_to_get), ""]
    if info.attributes:
        lines += ["## Facts of a picture", ""]
        lines += [f"- `{name}` ({kind})" for name, kind in info.attributes.items()]
    lines += [
        "",
        "## Look at it",
        "",
        _preformatted(f"python -m fer_keras.data describe {info.name}"),
    ]
    return "\n".join(lines) + "\n"


def _studies() -> dict[str, str]:
    from fer_keras.studies import list_studies, study_module

    pages = {}
    for name in list_studies():
        module = study_module(name)
        parser = argparse.ArgumentParser(prog=f"python -m fer_keras.study {name}")
        module.add_arguments(parser)
        text, _, examples = (module.__doc__ or "").strip().partition("\n\nexamples:\n")
        parts = [f"# {name}", text, "## Examples and files", _preformatted(examples)]
        parts += ["## Options", _preformatted(parser.format_help())]
        pages[f"studies/{name}.md"] = "\n\n".join(parts) + "\n"
    return pages


def _experiments() -> str:
    parts = [
        "# Experiments",
        "`python -m fer_keras.train --exp NAME` trains one; each is a file in "
        "`experiments` that states its source.",
    ]
    for path in sorted((_ROOT / "experiments").glob("*.py")):
        if path.stem != "__init__":
            docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            first, _, rest = docstring.partition("\n\n")
            rest = re.sub(r"^Command: (.*)$", r"\nCommand: `\1`", rest, flags=re.M)
            parts += [f"## {path.stem}", first.replace("\n", " "), rest]
    return "\n\n".join(parts) + "\n"


def _commands() -> str:
    """The `--help` of every module of the package that is run with `python -m`."""
    parts = ["# Commands", "What each command says with `--help`."]
    package = _ROOT / "fer_keras"
    found = [
        path for path in package.glob("*.py") if "run_command(main)" in path.read_text("utf-8")
    ]
    names = sorted(
        [path.stem for path in found] + [p.parent.name for p in package.glob("*/__main__.py")]
    )
    for name in names:
        module = f"fer_keras.{name}"
        if (package / name / "__main__.py").is_file():
            module += ".__main__"
        parts += [f"## {name}", _preformatted(_help(importlib.import_module(module).main))]
    return "\n\n".join(parts) + "\n"


def _help(main: Callable[[list[str]], int]) -> str:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        main(["--help"])
    return shown.getvalue()


def _preformatted(text: str, language: str = "text") -> str:
    return f"```{language}\n" + text.strip("\n") + "\n```"
