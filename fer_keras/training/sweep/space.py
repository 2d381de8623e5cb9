"""What a sweep varies: `KEY=V1,V2` lists values, `KEY=LOW..HIGH` is a range, `:log` its scale.

Values are those of `--set`: a trial is the experiment with one assignment for each key. No Optuna
here; `sweep` turns the parameters into its distributions.

A table of runs (`--runs`) may name other pictures of the same faces, which a grid may not: who
writes a table knows that they are the same.
"""

import dataclasses
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_keras.common.errors import ConfigError
from fer_keras.config import Experiment, flatten, override

Value = str | int | float

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(:.*)?")

# Tables of runs that are shipped lie there, `NAME.json`.
_TABLES = Path(__file__).parent

# Trials are compared by their validation figure, so none of them may change what is measured.
_FIXED = {
    "name": "it is the name of the runs",
    "dataset.name": "trials must be scored on the same pictures",
    "dataset.source": "trials must be scored on the same pictures",
    "dataset.eval_label_rule": "trials must be scored by the same labels",
    "dataset.split": "trials must be scored on the same pictures",
    "dataset.fold": "trials must be scored on the same pictures",
    "dataset.folds": "trials must be scored on the same pictures",
    "dataset.validation_fraction": "trials must be scored on the same pictures",
    "dataset.fallback_for": "it is set by the command",
    "training.select_by": "it is what trials are compared by",
}


@dataclass(frozen=True)
class Choice:
    """A parameter with listed values.

    Attributes:
        key: What `--set` calls it.
        values: At least one; numbers where the text is one.
    """

    key: str
    values: tuple[Value, ...]

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values that stand for all when the type is checked."""
        return self.values


@dataclass(frozen=True)
class Range:
    """A parameter between two numbers, both included.

    Attributes:
        key: What `--set` calls it.
        low: The lower end.
        high: The upper end.
        log: Whether it is drawn on a logarithmic scale.
        whole: Whether only whole numbers are drawn.
    """

    key: str
    low: float
    high: float
    log: bool
    whole: bool

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values that stand for all when the type is checked."""
        kind = int if self.whole else float
        return kind(self.low), kind(self.high)


def parse_space(
    experiment: Experiment, grid: Sequence[str], search: Sequence[str]
) -> tuple[list[Choice], list[Choice | Range]]:
    """Reads and checks the words of `--grid` and `--search`.

    Args:
        experiment: What is varied.
        grid: `KEY=V1,V2` words.
        search: `KEY=LOW..HIGH[:log]` or `KEY=V1,V2` words.

    Returns:
        The parameters of the grid, and those that are searched.

    Raises:
        ConfigError: A word is malformed, a key is unknown, named twice or must stay the same in
            all trials, or a value has the wrong type.
    """
    gridded = [_choice(word, "--grid") for word in grid]
    searched = [_parameter(experiment, word) for word in search]
    seen: set[str] = set()
    for parameter in (*gridded, *searched):
        key = parameter.key
        if key in _FIXED:
            raise ConfigError(f"{key!r} cannot be varied in a sweep: {_FIXED[key]}.")
        if key in seen:
            raise ConfigError(f"{key!r} is varied twice. Name it once.")
        seen.add(key)
        for value in parameter.ends:
            override(experiment, [assignment(key, value)])
    return gridded, searched


def read_runs(name: str) -> tuple[list[dict[str, Value]], list[dict[str, Value]]]:
    """Reads a table of runs: settings that are tried together, and what is published about them.

    Args:
        name: A JSON file, or the name of a shipped one. It holds `runs`, a list of objects of
            `KEY: value` with the same keys in all, and may hold `published`, a list of objects with
            `name` and any of `val_accuracy`, `balanced_accuracy` (0..1) and `best_epoch`.

    Returns:
        Both lists.

    Raises:
        ConfigError: There is no such file, or it holds something else.
    """
    path = Path(name)
    if not path.is_file():
        path = _TABLES / f"{name}.json"
    if not path.is_file():
        shipped = ", ".join(sorted(each.stem for each in _TABLES.glob("*_runs.json")))
        raise ConfigError(f"--runs: expected a file, or one of {shipped}. Received: {name!r}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        runs, published = content["runs"], content.get("published", [])
        rows = [*runs, *published]
        flat = all(isinstance(v, str | int | float) for row in rows for v in row.values())
        if not runs or not flat or any(row.keys() != runs[0].keys() for row in runs):
            raise ValueError("runs with the same keys and plain values")
        if not all("name" in row for row in published):
            raise ValueError("a name for everything published")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: expected a table of runs. Received: {error}.") from None
    return runs, published


def table_choices(experiment: Experiment, runs: Sequence[Mapping[str, Value]]) -> list[Choice]:
    """The parameters of a table of runs, with the values that occur.

    Args:
        experiment: What is varied.
        runs: Of `read_runs`.

    Returns:
        One parameter for each key.

    Raises:
        ConfigError: A key is unknown or must stay the same in all trials (the pictures may come
            from other places here: whoever writes the table knows that they show the same faces),
            or a value has the wrong type.
    """
    for run in runs:
        for key, value in run.items():
            if key in _FIXED and key != "dataset.source":
                raise ConfigError(f"{key!r} cannot be varied in a sweep: {_FIXED[key]}.")
            override(experiment, [assignment(key, value)])
    return [Choice(key, tuple(dict.fromkeys(run[key] for run in runs))) for key in runs[0]]


def combinations(grid: Sequence[Choice]) -> list[dict[str, Value]]:
    """Every combination of the values of a grid, the last parameter changing fastest.

    Args:
        grid: Any number of parameters.

    Returns:
        Key -> value; one empty combination for an empty grid.
    """
    return [
        dict(zip((choice.key for choice in grid), values, strict=True))
        for values in itertools.product(*(choice.values for choice in grid))
    ]


def assignment(key: str, value: Value) -> str:
    """The `--set` word of one value; numbers are written so that nothing is lost."""
    return f"{key}={value}" if isinstance(value, str) else f"{key}={value!r}"


def _split(word: str, option: str) -> tuple[str, str]:
    key, separator, text = word.partition("=")
    if not separator or not key.strip() or not text.strip():
        raise ConfigError(f"{option} expects KEY=VALUES, such as seed=0,1. Received: {word!r}.")
    return key.strip(), text.strip()


def _choice(word: str, option: str) -> Choice:
    key, text = _split(word, option)
    if _RANGE.fullmatch(text):
        raise ConfigError(
            f"{option} takes listed values; a range is searched: --search {word}. Or list values: "
            f"--grid {key}=V1,V2."
        )
    values = tuple(_value(part) for part in _parts(text))
    if "" in values or len(set(values)) < len(values):
        raise ConfigError(f"{key}: expected different values between commas. Received: {text!r}.")
    return Choice(key, values)


def _parameter(experiment: Experiment, word: str) -> Choice | Range:
    key, text = _split(word, "--search")
    match = _RANGE.fullmatch(text)
    if not match:
        return _choice(word, "--search")
    low_text, high_text, scale = match.groups()
    if scale not in (None, ":log"):
        raise ConfigError(f"{key}: expected LOW..HIGH or LOW..HIGH:log. Received: {text!r}.")
    low, high, log = float(low_text), float(high_text), scale == ":log"
    if not low < high:
        raise ConfigError(f"{key}: expected LOW below HIGH. Received: {text!r}.")
    if log and low <= 0:
        raise ConfigError(f"{key}: a log scale needs LOW above 0. Received: {text!r}.")
    # 0..1 means fractions for a setting that is one, and 0 or 1 for one that counts.
    now = flatten(dataclasses.asdict(experiment)).get(key)
    looks_whole = low_text.lstrip("+-").isdecimal() and high_text.lstrip("+-").isdecimal()
    return Range(key, low, high, log, whole=looks_whole and not isinstance(now, float))


def _parts(text: str) -> list[str]:
    """Text between commas, those within brackets aside."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in "[{") - (character in "]}")
        if character == "," and not depth:
            parts.append(text[start:position].strip())
            start = position + 1
    return [*parts, text[start:].strip()]


def _value(text: str) -> Value:
    """A number where the text is one, which sorts and plots as such; else the text."""
    if re.fullmatch(_NUMBER, text):
        number = json.loads(text) if re.fullmatch(r"-?(0|[1-9]\d*)", text) else float(text)
        return number if isinstance(number, int) else float(number)
    return text
