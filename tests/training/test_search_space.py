"""The words of --grid and --search."""

import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.config import Experiment, NetworkConfig, override
from fer_keras.training.sweep.space import Choice, Range, assignment, combinations, parse_space

BASE = Experiment(name="base", network=NetworkConfig("compact", {"stem_filters": 8}))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("training.learning_rate=0.001..0.1:log", (0.001, 0.1, True, False)),
        ("training.learning_rate=1e-4..1e-2", (1e-4, 1e-2, False, False)),
        ("training.batch_size=16..128:log", (16, 128, True, True)),
        # A fraction stays one although its ends are whole; an option is as its present value.
        ("training.weight_decay=0..1", (0, 1, False, False)),
        ("network.options.stem_filters=8..32", (8, 32, False, True)),
        ("method.options.scale=8..32.5", (8, 32.5, False, False)),
        ("method.options.shift=-1.5..1.5", (-1.5, 1.5, False, False)),
    ],
)
def test_ranges(word: str, expected: tuple[float, float, bool, bool]) -> None:
    _, (found,) = parse_space(BASE, [], [word])
    assert found == Range(word.partition("=")[0], *expected)


def test_choices_keep_brackets_together_and_numbers_as_numbers() -> None:
    words = ["network.options.widths=[16, 32],[24,48]", "training.batch_size=32,64"]
    widths, batch = parse_space(BASE, words, [])[0]
    assert widths == Choice("network.options.widths", ("[16, 32]", "[24,48]"))
    assert batch.values == (32, 64)
    changed = override(BASE, [assignment(widths.key, widths.values[0]), assignment("seed", 7)])
    assert changed.network.options["widths"] == [16, 32]
    assert changed.seed == 7


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e-7, 12345678.9, 3, "mixed_float16"])
def test_an_assignment_loses_nothing(value: str | int | float) -> None:
    key = "training.precision" if isinstance(value, str) else "training.weight_decay"
    training = override(BASE, [assignment(key, value)]).training
    assert value in (training.weight_decay, training.precision)


def test_a_grid_is_every_combination() -> None:
    grid, _ = parse_space(BASE, ["seed=0,1", "augmentation=none,light,flip"], [])
    found = combinations(grid)
    assert len(found) == 6
    assert found[:3] == [{"seed": 0, "augmentation": each} for each in ("none", "light", "flip")]
    assert combinations([]) == [{}]


@pytest.mark.parametrize(
    ("grid", "search", "message"),
    [
        (["seed"], [], "expects KEY=VALUES"),
        (["seed=0,0"], [], "different values"),
        (["seed=0,,1"], [], "different values"),
        (["seed=0,one"], [], "seed: expected int"),
        (["seed=0..3"], [], "a range is searched"),
        (["seed=0,1"], ["seed=2..3"], "varied twice"),
        ([], ["training.epochs=3..1"], "LOW below HIGH"),
        ([], ["training.learning_rate=0..1:log"], "above 0"),
        ([], ["training.learning_rate=0.1..1:linear"], "LOW..HIGH:log"),
        ([], ["training.epochs=0..3"], "expected at least 1"),
        ([], ["training.epoch=1..3"], "Nearest: training.epochs"),
        (["dataset.fold=0,1"], [], "scored on the same pictures"),
        (["dataset.eval_label_rule=majority,probability"], [], "scored by the same labels"),
        (["training.select_by=val_loss,val_accuracy"], [], "compared by"),
    ],
)
def test_what_cannot_be_swept(grid: list[str], search: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_space(BASE, grid, search)
