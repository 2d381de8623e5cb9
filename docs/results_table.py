"""Writes the tables of results from the result files in docs/results.

python docs/results_table.py                              print the table of runs
python docs/results_table.py --write                      put all tables into their pages
python docs/results_table.py --add runs/NAME              take a run's result.json in, then write
python docs/results_table.py --add-comparison FOLDER      what fer_keras.compare wrote, then write

docs/measurements.md has the runs, docs/compare.md the comparisons.
"""

import argparse
import json
import re
import textwrap
from pathlib import Path
from typing import Any

from fer_keras.reporting.card import without_places
from fer_keras.studies.comparison.report import annotator_lines, facts, main_table, published

_ROOT = Path(__file__).resolve().parents[1]
_RESULTS = Path(__file__).resolve().parent / "results"
_COMPARISONS = _RESULTS / "comparison"
_RUNS_PAGE = _ROOT / "docs" / "measurements.md"
_COMPARE_PAGE = _ROOT / "docs" / "compare.md"
_COMMAND = "python -m fer_keras.train "
_DATASETS = {
    ("fer2013", "hard"): "FER2013, PublicTest",
    ("ferplus", "majority"): "FER+, PublicTest, majority label",
}
_HEAD = (
    "Experiment",
    "Measured on",
    "Accuracy [95 %]",
    "Balanced",
    "Without duplicates",
    "n",
    "Seed",
    "Minutes",
    "Commit",
    "Published (others, another split)",
)


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    low, high = result["accuracy_interval"]
    without = result["without_duplicates"]
    command = re.sub(r" --run-dir \S+| --require-data", "", result["command"])
    place = _DATASETS[result["dataset"], result["label_rule"]]
    return (
        f"`{command.removeprefix(_COMMAND)}`",
        place,
        f"{result['accuracy']:.4f} [{low:.4f}, {high:.4f}]",
        f"{result['balanced_accuracy']:.4f}",
        f"{without['accuracy']:.4f} (n {without['n']:,})",
        f"{result['n']:,}",
        str(result["seed"]),
        f"{result['training_minutes']:.0f}",
        f"`{result['git_commit']}`",
        published(result["dataset"], result["experiment"]),
    )


def table() -> str:
    """The table of runs in Markdown, best run of each data set first."""
    results = [json.loads(path.read_text("utf-8")) for path in sorted(_RESULTS.glob("*.json"))]
    results.sort(key=lambda result: (result["dataset"], -result["accuracy"]))
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
    lines += ["| " + " | ".join(_row(result)) + " |" for result in results]
    return "\n".join(lines)


def comparison_tables() -> str:
    """The table of every comparison in Markdown, each with its heading and command."""
    parts = []
    for path in sorted(_COMPARISONS.glob("*.json")):
        record = json.loads(path.read_text("utf-8"))
        sentences = [_wrapped(text) for text in facts(record)]
        parts += [f"### {record['title']}", *sentences, main_table(record["models"])]
        parts += [_wrapped(text) for text in annotator_lines(record["annotators"])]
        parts.append(f"```bash\n{record['command']}\n```")
    return "\n\n".join(parts)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _put(page: Path, name: str, text: str) -> None:
    """Replaces what stands between the marks of a page."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, rest = page.read_text("utf-8").split(start)
    after = rest.split(end)[1]
    page.write_text(f"{before}{start}\n{text}\n{end}{after}", "utf-8")


def _add_comparison(folder: Path, busy: bool) -> None:
    record = json.loads((folder / "comparison.json").read_text("utf-8"))
    for row in record["models"]:
        del row["path"]  # a place on the machine that measured
        if busy:
            row |= {"ms_per_face": None, "ms_p95": None, "ms_min": None}
    record["command"] = re.sub(r"(?<=[ =])/\S*/", "", record["command"])
    record["command"] = re.sub(r" --output \S+", "", record["command"])
    name = f"{record['dataset']}-{record['split']}-{record['label_rule']}.json"
    _COMPARISONS.mkdir(exist_ok=True)
    (_COMPARISONS / name).write_text(json.dumps(record, indent=1) + "\n", "utf-8")


def main() -> None:
    """Prints or writes the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--add", type=Path, nargs="*", default=[], metavar="RUN")
    parser.add_argument("--add-comparison", type=Path, nargs="*", default=[], metavar="FOLDER")
    parser.add_argument(
        "--busy", action="store_true", help="leave out milliseconds: the machine had other work"
    )
    arguments = parser.parse_args()
    for run_dir in arguments.add:
        result = json.loads((run_dir / "result.json").read_text("utf-8"))
        result.pop("reliability", None)
        for key in ("command", "initial_weights"):
            result[key] = without_places(result[key])
        name = f"{result['experiment']}-seed{result['seed']}.json"
        (_RESULTS / name).write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    for folder in arguments.add_comparison:
        _add_comparison(folder, arguments.busy)
    if arguments.write or arguments.add or arguments.add_comparison:
        _put(_RUNS_PAGE, "results", table())
        _put(_COMPARE_PAGE, "comparisons", comparison_tables())
    else:
        print(table())


if __name__ == "__main__":
    main()
