"""Declared constraints: each kind, and every setting and option at its bounds.

The declarations themselves say what is tried, so a new setting or option is tested by itself.
"""

import dataclasses
import importlib
import inspect
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest

from fer_keras.common.constraints import (
    Choices,
    CountOrZero,
    Length,
    Range,
    Rate,
    check,
    checked_options,
    constraints_of,
    option_hints,
    without_constraints,
)
from fer_keras.common.errors import ConfigError, DataError
from fer_keras.config import (
    Experiment,
    from_json,
    list_experiments,
    load_experiment,
    override,
    to_json,
)
from fer_keras.methods import build_method, list_methods
from fer_keras.models import build_network, list_networks


def _steps(kind: Any, bound: float) -> tuple[Any, Any]:
    """The numbers of a type just below and just above a bound."""
    if kind is int:
        return int(bound) - 1, int(bound) + 1
    return math.nextafter(bound, -math.inf), math.nextafter(bound, math.inf)


def _at_bounds(kind: Any, bounds: Range) -> tuple[list[Any], list[Any]]:
    good: list[Any] = []
    bad: list[Any] = [math.nan] if kind is float else []
    for bound, closed, upper in (
        (bounds.low, True, False), (bounds.above, False, False),
        (bounds.high, True, True), (bounds.below, False, True),
    ):  # fmt: skip
        if bound is not None:
            before, after = _steps(kind, bound)
            outside, inside = (after, before) if upper else (before, after)
            good.append(kind(bound) if closed else inside)
            bad.append(outside if closed else kind(bound))
    return good, bad


def edges(hint: Any) -> tuple[list[Any], list[Any]]:
    """Values that a declaration just allows, and values that it just refuses."""
    bare, constraints = without_constraints(hint), constraints_of(hint)
    if get_origin(bare) is Literal:
        return list(get_args(bare)), ["no such", True, None]
    if get_origin(bare) is Sequence:
        lengths = [one for one in constraints if isinstance(one, Length)]
        few = lengths[0].low if lengths else 1
        good, bad = edges(get_args(bare)[0])
        fits = (good or ["text"])[:1] * few
        short = [fits[:-1]] if lengths and few else []
        long = [[*fits, fits[0]]] if lengths and lengths[0].high == few else []
        return [fits], [[*fits[1:], value] for value in bad] + short + long + ["text", 3]
    if bare not in (bool, int, float, str):
        return [], []
    good, bad = [], {bool: [1, "true"], int: [1.5, "1", True], float: ["1", True], str: [1]}[bare]
    for constraint in constraints:
        if isinstance(constraint, Range):
            inside, outside = _at_bounds(bare, constraint)
            good, bad = good + inside, bad + outside
        elif isinstance(constraint, Choices):
            good, bad = [*good, *constraint.names], [*bad, "no such", ""]
    return good, bad


def fields(part: Any = Experiment, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting and its declaration."""
    for name, hint in get_type_hints(part, include_extras=True).items():
        if dataclasses.is_dataclass(hint):
            yield from fields(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", hint


FIELDS = dict(fields())


def _with(key: str, value: Any) -> str:
    values: Any = json.loads(to_json(Experiment("x")))
    part = values
    *groups, name = key.split(".")
    for group in groups:
        part = part[group]
    part[name] = value
    return json.dumps(values)


@pytest.mark.parametrize("key", FIELDS)
def test_setting_at_its_bounds(key: str) -> None:
    good, bad = edges(FIELDS[key])
    for value in good:
        experiment = from_json(_with(key, value))
        assert from_json(to_json(experiment)) == experiment
        assert override(Experiment("x"), [f"{key}={value}"]) == experiment
    for value in bad:
        with pytest.raises(ConfigError, match=rf"{key}.*: expected .*\. Received: "):
            from_json(_with(key, value))


@pytest.mark.parametrize("key", [key for key, hint in FIELDS.items() if constraints_of(hint)])
def test_set_is_refused_outside_the_bounds(key: str) -> None:
    numbers = [value for value in edges(FIELDS[key])[1] if type(value) in (int, float)]
    kind = without_constraints(FIELDS[key])
    for value in numbers:
        if kind is float or type(value) is int:
            with pytest.raises(ConfigError, match=rf"{key}: expected .*\. Received: "):
                override(Experiment("x"), [f"{key}={value}"])


def test_numbers_have_bounds() -> None:
    free = {key for key, hint in FIELDS.items() if hint in (int, float)}
    assert free == set()


BUILDERS = [("models", name) for name in list_networks()]
BUILDERS += [("methods", name) for name in list_methods()]


def _builder(kind: str, name: str) -> Any:
    return importlib.import_module(f"fer_keras.{kind}.{name}").build


def _shape(name: str) -> tuple[int, ...]:
    kind = getattr(importlib.import_module(f"fer_keras.models.{name}"), "INPUT_KIND", "image")
    return {"image": (), "pair": (2,), "clip": (4,)}[kind] + (48, 48, 1)


def _built(kind: str, name: str, **options: Any) -> Any:
    if kind == "models":
        return build_network(name, _shape(name), 3, **options)
    # Refused before anything is built, so no network is needed.
    network: Any = None
    return build_method(name, network, ("a", "b"), **options)


@pytest.mark.parametrize(("kind", "name"), BUILDERS)
def test_options_at_their_bounds(kind: str, name: str) -> None:
    build = _builder(kind, name)
    for option, hint in option_hints(build).items():
        good, bad = edges(hint)
        for value in good:
            assert checked_options(build, {option: value}, name) == {option: value}
        for value in bad:
            with pytest.raises(ConfigError, match=rf"{option}.*: expected .*\. Received: "):
                _built(kind, name, **{option: value})


@pytest.mark.parametrize(("kind", "name"), BUILDERS)
def test_options_are_declared_and_their_defaults_allowed(kind: str, name: str) -> None:
    build = _builder(kind, name)
    hints = option_hints(build)
    assert not [option for option, hint in hints.items() if hint in (int, float)]
    for option, hint in hints.items():
        default = inspect.signature(build).parameters[option].default
        if default is not inspect.Parameter.empty:
            assert check(default, hint, option) == default


@pytest.mark.parametrize("name", sorted(list_experiments()))
def test_options_of_the_experiments_are_allowed(name: str) -> None:
    experiment = load_experiment(name)
    for kind, part in (("models", experiment.network), ("methods", experiment.method)):
        if part.name == "as_weights":  # The network of a file has no options.
            assert part.options == {}
            continue
        checked_options(_builder(kind, part.name), part.options, part.name)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (0, Annotated[int, Range(low=1)], "expected at least 1. Received: 0."),
        (1.0, Rate, "expected at least 0 and below 1. Received: 1.0."),
        (math.nan, Rate, "expected at least 0 and below 1. Received: nan."),
        (0.0, Annotated[float, Range(above=0, high=2)], "expected above 0 and at most 2."),
        ("c", Annotated[str, Choices(("a", "b"))], "expected one of a, b. Received: 'c'."),
        ([1, 2], Annotated[Sequence[int], Length(3, 3)], r"expected 3 entries. Received: [1, 2]."),
        ([], Annotated[Sequence[int], Length(1)], "expected at least 1 entries. Received: []."),
        ([4, 0], Sequence[Annotated[int, Range(low=1)]], "key[1]: expected at least 1."),
        ("ab", Sequence[str], "expected a list. Received: 'ab'."),
        (True, int, "expected int. Received: True."),
        (None, str, "expected str. Received: None."),
        ([], Mapping[str, Any] | None, "expected an object of options. Received: []."),
    ],
)
def test_a_refusal_says_what_was_expected(value: Any, hint: Any, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        check(value, hint, "key", DataError)
    assert expected in str(caught.value)
    assert str(caught.value).startswith("key")


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (None, Mapping[str, Any] | None),
        ({"a": 1}, Mapping[str, int] | str),
        (object, Any),
        ((1, 2), Sequence[CountOrZero]),
    ],
)
def test_what_fits_comes_back(value: Any, hint: Any) -> None:
    assert check(value, hint, "key") == value


def test_an_integer_becomes_the_float_that_is_declared() -> None:
    assert type(check(0, Rate, "key")) is float
