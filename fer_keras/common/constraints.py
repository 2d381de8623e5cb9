"""What a value of a setting or an option may be: declared beside it, checked by one function.

A declaration is a type hint: `Annotated[int, Range(low=1)]`, `Annotated[str, Choices(FORMS)]`,
`Literal["valid", "same"]`, or one of the common ones below. `check` reads it, so a bound stands in
one place, where the field or the parameter is.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from fer_keras.common.errors import ConfigError, FerKerasError, did_you_mean


@dataclass(frozen=True)
class Range:
    """Bounds of a number; nan lies outside all of them.

    Attributes:
        low: The smallest value.
        high: The largest value.
        above: The value is larger than this.
        below: The value is smaller than this.
    """

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    def accepts(self, value: Any) -> bool:
        """Whether a number lies within."""
        return (
            not math.isnan(value)
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """The bounds in words, such as `at least 0 and below 1`."""
        words = (
            ("at least", self.low), ("above", self.above),
            ("at most", self.high), ("below", self.below),
        )  # fmt: skip
        return " and ".join(f"{word} {bound}" for word, bound in words if bound is not None)


@dataclass(frozen=True)
class Length:
    """How many entries a list has.

    Attributes:
        low: The fewest.
        high: The most; None = any number.
    """

    low: int
    high: int | None = None

    def accepts(self, value: Any) -> bool:
        """Whether a list has so many entries."""
        return len(value) >= self.low and (self.high is None or len(value) <= self.high)

    def __str__(self) -> str:
        """The number in words, such as `4 entries`."""
        if self.high == self.low:
            return f"{self.low} entries"
        most = "" if self.high is None else f" and at most {self.high}"
        return f"at least {self.low}{most} entries"


class Choices:
    """The values that are possible, where a table names them already; else `Literal` does.

    Attributes:
        names: All of them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)

    def accepts(self, value: Any) -> bool:
        """Whether a value is one of them."""
        return value in self.names

    def __str__(self) -> str:
        """The values, such as `one of a, b`."""
        return f"one of {', '.join(self.names)}"


Constraint = Range | Length | Choices

Count = Annotated[int, Range(low=1)]
"""A number of things, or a size."""
CountOrZero = Annotated[int, Range(low=0)]
"""One where 0 means none, all or off; or a seed."""
NotNegative = Annotated[float, Range(low=0)]
Positive = Annotated[float, Range(above=0)]
Rate = Annotated[float, Range(low=0, below=1)]
"""A share of which something must be left, such as that of drop-out."""
Share = Annotated[float, Range(low=0, high=1)]


def check(value: Any, hint: Any, key: str, error: type[FerKerasError] = ConfigError) -> Any:
    """A value that its declaration allows.

    Args:
        value: What was given.
        hint: A type hint with its constraints. `bool`, `int`, `float`, `str`, `Literal`, lists,
            mappings, `None` beside one other type, and `Annotated` ones of these are checked;
            whatever else is left to the code that uses the value.
        key: What the value is for; the error begins with it.
        error: The class of the error.

    Returns:
        The value, an integer as a float where the declaration asks for a float.

    Raises:
        FerKerasError: Of the class `error`: another type, or a constraint that is not kept.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        value = check(value, arguments[0], key, error)
        for constraint in constraints_of(hint):
            if not constraint.accepts(value):
                raise _fault(error, key, str(constraint), value)
        return value
    if origin is Literal:
        # True equals 1, but it is no number.
        if value not in arguments or isinstance(value, bool):
            raise _fault(error, key, f"one of {', '.join(map(str, arguments))}", value)
        return value
    if origin in (Union, UnionType):
        others = [other for other in arguments if other is not NoneType]
        absent = value is None and len(others) < len(arguments)
        return value if absent or len(others) > 1 else check(value, others[0], key, error)
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise _fault(error, key, "an object of options", value)
        return dict(value)
    if origin is Sequence:
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            raise _fault(error, key, "a list", value)
        entries = [check(v, arguments[0], f"{key}[{i}]", error) for i, v in enumerate(value)]
        return tuple(entries) if isinstance(value, tuple) else entries
    if hint in (bool, int, float, str):
        if hint is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
            raise _fault(error, key, hint.__name__, value)
    return value


def constraints_of(hint: Any) -> tuple[Constraint, ...]:
    """The constraints of an `Annotated` hint, in their order; those of any other are none."""
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return tuple(extra for extra in extras if isinstance(extra, Constraint))


def without_constraints(hint: Any) -> Any:
    """The bare type of an `Annotated` hint; any other is given back as it is."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def option_hints(build: Callable[..., Any]) -> dict[str, Any]:
    """The options of a builder: its keyword-only parameters and their declarations.

    Args:
        build: The `build` of a network or method.
    """
    hints = get_type_hints(build, include_extras=True)
    return {
        parameter.name: hints.get(parameter.name, Any)
        for parameter in inspect.signature(build).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def checked_options(
    build: Callable[..., Any], options: Mapping[str, Any], what: str
) -> dict[str, Any]:
    """Options that the signature of a builder allows.

    Args:
        build: The `build` of a network or method.
        options: By name.
        what: Whose options they are, for the errors, such as `Network 'compact'`.

    Raises:
        ConfigError: An unknown option, or a value that its declaration does not allow.
    """
    hints = option_hints(build)
    for option in options:
        if option not in hints:
            hint = did_you_mean(option, hints) if hints else "It takes no options."
            raise ConfigError(f"{what} has no option {option!r}. {hint}")
    return {
        option: check(value, hints[option], f"{what}, option {option}")
        for option, value in options.items()
    }


def _fault(error: type[FerKerasError], key: str, expected: str, value: Any) -> FerKerasError:
    return error(f"{key}: expected {expected}. Received: {value!r}.")
