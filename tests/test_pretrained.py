"""Weights to start from and teachers: found, trained first, matched by layer and by class name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fer_keras.config import Experiment, load_experiment, to_json
from fer_keras.errors import ConfigError
from fer_keras.loading import save_network
from fer_keras.models import build_model
from fer_keras.models.layers import with_class_names
from fer_keras.pretrained import load_start, with_earlier_stages, with_teacher

NAMES = ("neutral", "happiness", "anger")
SMALL = {"stem_filters": 4, "widths": [8], "depths": [1]}


def network(names: tuple[str, ...], **options):
    return with_class_names(
        build_model("compact", (16, 16, 1), len(names), **{**SMALL, **options}), names
    )


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    folder = tmp_path / "trained"
    folder.mkdir()
    save_network(network(NAMES), folder / "best.keras")
    return folder


def test_weights_are_copied_and_classes_matched_by_name(trained: Path) -> None:
    from fer_keras.loading import load_network

    source, _ = load_network(trained / "best.keras")
    target = network(("anger", "happiness"))
    line = load_start(target, ("anger", "happiness"), str(trained))
    np.testing.assert_array_equal(
        target.get_layer("stem").get_weights()[0], source.get_layer("stem").get_weights()[0]
    )
    kernel, bias = source.get_layer("logits").get_weights()
    np.testing.assert_array_equal(target.get_layer("logits").get_weights()[0], kernel[:, [2, 1]])
    np.testing.assert_array_equal(target.get_layer("logits").get_weights()[1], bias[[2, 1]])
    assert "best.keras" in line
    assert "fresh" not in line


def test_a_class_that_is_new_gets_a_fresh_classifier(trained: Path) -> None:
    target = network(("anger", "contempt"))
    before = target.get_layer("logits").get_weights()[0]
    line = load_start(target, ("anger", "contempt"), str(trained))
    assert line.endswith("fresh: logits")
    np.testing.assert_array_equal(target.get_layer("logits").get_weights()[0], before)


def test_a_network_of_which_nothing_fits_is_refused(trained: Path) -> None:
    other = build_model("mini_xception", (48, 48, 1), 3)
    with pytest.raises(ConfigError, match="no layer of"):
        load_start(other, NAMES, str(trained))


def test_a_teacher_is_loaded_in_the_place_of_its_path(trained: Path) -> None:
    options, line = with_teacher({"teacher": str(trained), "weight": 0.5})
    assert options["teacher"].output["logits"].shape[-1] == 3
    assert options["weight"] == 0.5
    assert "best.keras" in line
    assert with_teacher({"weight": 0.5}) == ({"weight": 0.5}, "")


def test_a_finished_run_is_used_and_a_missing_one_is_trained(tmp_path: Path) -> None:
    experiment = load_experiment("ferplus_tiny_distilled")
    trained_now: list[Experiment] = []

    def train(first: Experiment) -> Path:
        trained_now.append(first)
        folder = tmp_path / f"run{len(trained_now)}"
        folder.mkdir()
        (folder / "experiment.json").write_text(to_json(first))
        (folder / "best.keras").touch()
        (folder / "result.json").write_text("{}")
        return folder

    ready = with_earlier_stages(experiment, train, tmp_path)
    assert ready.method.options["teacher"] == str(tmp_path / "run1")
    assert [(first.name, first.seed) for first in trained_now] == [("ferplus_camera", 0)]
    assert with_earlier_stages(experiment, train, tmp_path) == ready
    # Another seed needs a teacher of its own; an unfinished run is none.
    with_earlier_stages(replace(experiment, seed=1), train, tmp_path)
    assert len(trained_now) == 2
    (tmp_path / "run1" / "result.json").unlink()
    with_earlier_stages(experiment, train, tmp_path)
    assert len(trained_now) == 3


def test_drawn_faces_stand_in_for_both_stages(tmp_path: Path) -> None:
    experiment = load_experiment("fer2013_camera")
    dataset = replace(experiment.dataset, name="synthetic_faces", fallback_for="fer2013")
    seen: list[Experiment] = []
    ready = with_earlier_stages(
        replace(experiment, dataset=dataset), lambda first: seen.append(first) or tmp_path, tmp_path
    )
    assert seen[0].dataset == dataset
    assert ready.network.weights == str(tmp_path)


def test_what_is_neither_path_nor_experiment_is_refused(tmp_path: Path) -> None:
    experiment = load_experiment("fer2013_camera")
    lost = replace(experiment, network=replace(experiment.network, weights="ferplus_camra"))
    with pytest.raises(ConfigError, match=r"network\.weights.*ferplus_camera"):
        with_earlier_stages(lost, lambda _: tmp_path, tmp_path)
