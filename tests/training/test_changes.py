"""Settings of the command line: what belongs to another network, method or data set is left out."""

from pathlib import Path

import pytest

from fer_keras.common.errors import ConfigError
from fer_keras.config import Experiment, GrowthConfig, load_experiment, override
from fer_keras.training.as_weights import AS_WEIGHTS
from fer_keras.training.changes import with_changes


def changed(name: str, *assignments: str) -> tuple[Experiment, list[str]]:
    notes: list[str] = []
    return with_changes(load_experiment(name), assignments, notes.append), notes


def test_options_of_another_method_are_left_out_and_named() -> None:
    experiment, notes = changed("ferplus_student", "method.name=cross_entropy")
    assert experiment.method.options == {}
    assert notes == [
        "method cross_entropy: left out what is for multi_teacher: teachers, teacher_weights, views"
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_options_that_the_user_gives_stay_whatever_their_order(order: int) -> None:
    """Where they are wrong he is told so, as for any other mistake."""
    given = ["method.name=prototype", "method.options.dimensions=8", "method.options.views=2"]
    experiment, notes = changed("ferplus_student", *given[::order])
    assert experiment.method.options == {"views": 2, "dimensions": 8}
    assert notes == [
        "method prototype: left out what is for multi_teacher: teachers, teacher_weights"
    ]


def test_options_that_both_know_and_the_same_name_change_nothing() -> None:
    experiment, notes = changed("ferplus_student", "method.name=multi_teacher")
    assert (experiment, notes) == (load_experiment("ferplus_student"), [])
    base = load_experiment("ferplus_esr_diversified")
    experiment, notes = changed("ferplus_esr_diversified", f"method.name={base.method.name}")
    assert (experiment, notes) == (base, [])


def test_another_network_has_neither_options_nor_weights_of_the_old_one() -> None:
    experiment, notes = changed("ferplus_student", "network.name=vgg13")
    assert (experiment.network.options, experiment.network.weights) == ({}, "")
    assert notes == [
        "network vgg13: left out what is for compact: first_stride, widths, depths, stem_filters, "
        "weights"
    ]
    own = ["network.name=vgg13", "network.weights=runs/mine"]
    assert changed("ferplus_student", *own)[0].network.weights == "runs/mine"
    weights = changed("ferplus_student", f"network.name={AS_WEIGHTS}")[0].network.weights
    assert weights == "ferplus_webcam"


def test_growth_goes_with_the_branches() -> None:
    base = load_experiment("ckplus_esr4")
    assert base.growth.first
    experiment, notes = changed("ckplus_esr4", "network.name=compact", "method.name=cross_entropy")
    assert experiment.growth == GrowthConfig()
    assert "num_branches" in notes[0]


def test_a_network_of_the_users_own_is_asked_without_running_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("raise SystemExit\ndef build(shape, classes, *, widths=(8,)): ...\n")
    experiment, notes = changed("ferplus_student", f"network.name={path}")
    assert experiment.network.options == {"widths": [32, 64, 128, 256]}
    assert "stem_filters" in notes[0]


def test_an_unknown_name_is_left_to_the_check_that_lists_the_known() -> None:
    experiment, notes = changed("ferplus_student", "method.name=none_such")
    assert experiment.method.options == load_experiment("ferplus_student").method.options
    assert notes == []


def test_label_rules_and_sources_of_another_data_set_are_left_out() -> None:
    experiment, notes = changed("ferplus_cel", "dataset.name=fer2013")
    assert experiment.dataset.label_rule == ""
    assert notes == ["dataset fer2013: left out what is for ferplus: label_rule"]
    mine = override(load_experiment("ferplus_cel"), ["dataset.source=/old"])
    moved = with_changes(mine, ["dataset.name=folder", "dataset.source=/new"], notes.append)
    assert moved.dataset.source == "/new"
    moved = with_changes(mine, ["dataset.name=fer2013"], notes.append)
    assert moved.dataset.source == ""


def test_options_as_one_json_object_take_the_place_of_all() -> None:
    experiment, notes = changed(
        "ferplus_student", "method.name=prototype", 'method.options={"dimensions": 8}'
    )
    assert (experiment.method.options, notes) == ({"dimensions": 8}, [])
    experiment, _ = changed("ferplus_student", 'training.layer_rates={"stem*": 0}')
    assert experiment.training.layer_rates == {"stem*": 0}
    for wrong in ("method.options=3", "method.options.a.b=3", "method.options=[1]"):
        with pytest.raises(ConfigError, match=r"options\.OPTION=value, or options= and a JSON"):
            changed("ferplus_student", wrong)
