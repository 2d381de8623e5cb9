"""Writes the results table of the README from the result files in docs/results.

python docs/results_table.py                     print the table
python docs/results_table.py --write             put it into README.md
python docs/results_table.py --add runs/NAME     take a run's result.json in, then write
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
_RESULTS = Path(__file__).resolve().parent / "results"
_COMMAND = "python -m fer_keras.train "
_START, _END = "<!-- results -->", "<!-- /results -->"
_DATASETS = {
    ("fer2013", "hard"): "FER2013, PublicTest",
    ("ferplus", "majority"): "FER+, PublicTest, majority label",
}
# Figures of others on other splits, for orientation; none of them was measured here.
_PUBLISHED = {
    "cross_entropy": "0.66, mini-Xception (its authors; split not stated)",
    "ferplus_majority": "0.8385 PrivateTest, VGG13 MV (Barsoum et al. 2016)",
    "ferplus_cel": "0.8472 PrivateTest, VGG13 CEL (Barsoum et al. 2016)",
    "ferplus_pld": "0.8499 PrivateTest, VGG13 PLD (Barsoum et al. 2016)",
    "ferplus_ml": "0.8397 PrivateTest, VGG13 ML (Barsoum et al. 2016)",
}
_HEAD = (
    "Experiment",
    "Measured on",
    "Accuracy [95 %]",
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
    place = _DATASETS[result["dataset"], result["label_rule"]]
    return (
        f"`{re.sub(r' --run-dir [^ ]+', '', result['command']).removeprefix(_COMMAND)}`",
        place,
        f"{result['accuracy']:.4f} [{low:.4f}, {high:.4f}]",
        f"{without['accuracy']:.4f} (n {without['n']:,})",
        f"{result['n']:,}",
        str(result["seed"]),
        f"{result['training_minutes']:.0f}",
        f"`{result['git_commit']}`",
        _PUBLISHED.get(result["experiment"], ""),
    )


def table() -> str:
    """The table in Markdown, best run of each data set first."""
    results = [json.loads(path.read_text("utf-8")) for path in sorted(_RESULTS.glob("*.json"))]
    results.sort(key=lambda result: (result["dataset"], -result["accuracy"]))
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
    lines += ["| " + " | ".join(_row(result)) + " |" for result in results]
    return "\n".join(lines)


def main() -> None:
    """Prints or writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--add", type=Path, nargs="*", default=[], metavar="RUN")
    arguments = parser.parse_args()
    for run_dir in arguments.add:
        result = json.loads((run_dir / "result.json").read_text("utf-8"))
        result.pop("reliability", None)
        name = f"{result['experiment']}-seed{result['seed']}.json"
        (_RESULTS / name).write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if arguments.write or arguments.add:
        readme = _ROOT / "README.md"
        text = readme.read_text("utf-8")
        before, rest = text.split(_START)
        after = rest.split(_END)[1]
        readme.write_text(f"{before}{_START}\n{table()}\n{_END}{after}", "utf-8")
    else:
        print(table())


if __name__ == "__main__":
    main()
