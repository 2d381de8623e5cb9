"""Weights to start from and teachers: found, trained first, matched by layer and by class name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, ModelFileError
from fer_keras.config import Experiment, load_experiment, to_json
from fer_keras.loading.keras_files import save_network
from fer_keras.models import build_network
from fer_keras.models.encoders import build_encoder
from fer_keras.models.layers import with_class_names
from fer_keras.training.start import (
    keeping_start,
    load_start,
    with_earlier_stages,
    with_encoders,
    with_teacher,
)

NAMES = ("neutral", "happiness", "anger")
SMALL = {"stem_filters": 4, "widths": [8], "depths": [1]}


def network(names: tuple[str, ...], **options):
    return with_class_names(
        build_network("compact", (16, 16, 1), len(names), **{**SMALL, **options}), names
    )


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    folder = tmp_path / "trained"
    folder.mkdir()
    save_network(network(NAMES), folder / "best.keras")
    return folder


def test_weights_are_copied_and_classes_matched_by_name(trained: Path) -> None:
    from fer_keras.loading.keras_files import load_network

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


def test_a_class_that_is_new_keeps_its_fresh_weights(trained: Path) -> None:
    from fer_keras.loading.keras_files import load_network

    source, _ = load_network(trained / "best.keras")
    target = network(("anger", "contempt"))
    before = target.get_layer("logits").get_weights()[0]
    line = load_start(target, ("anger", "contempt"), str(trained))
    assert line.endswith("fresh: logits")
    after = target.get_layer("logits").get_weights()[0]
    np.testing.assert_array_equal(after[:, 1], before[:, 1])
    np.testing.assert_array_equal(after[:, 0], source.get_layer("logits").get_weights()[0][:, 2])


def test_every_branch_is_matched_by_the_names_of_the_classes(tmp_path: Path) -> None:
    options = {"variant": "ckplus", "num_branches": 2, "width": 1 / 16, "valence_arousal": True}

    def ensemble(names: tuple[str, ...]) -> Any:
        built = build_network("esr", (42, 42, 1), len(names), **options)
        return with_class_names(built, names)

    source, target = ensemble(NAMES), ensemble(("anger", "neutral", "happiness"))
    save_network(source, tmp_path / "source.keras")
    line = load_start(target, ("anger", "neutral", "happiness"), str(tmp_path / "source.keras"))
    assert "fresh" not in line
    images = np.random.default_rng(0).integers(0, 256, (3, 42, 42, 1)).astype(np.float32)
    theirs, ours = (
        {k: np.asarray(v) for k, v in network(images, training=False).items()}
        for network in (source, target)
    )
    np.testing.assert_allclose(
        ours["branch_logits"], theirs["branch_logits"][..., [2, 0, 1]], rtol=1e-5
    )
    for name in ("features", "branch_valence_arousal"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-6)
    fewer = ensemble(("contempt", "neutral"))
    line = load_start(fewer, ("contempt", "neutral"), str(tmp_path / "source.keras"))
    assert line.endswith(
        "fresh: branch1_logits, branch2_logits, branch1_valence_arousal, branch2_valence_arousal"
    )


def test_a_network_of_which_nothing_fits_is_refused(trained: Path) -> None:
    other = build_network("mini_xception", (48, 48, 1), 3)
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
    assert [(first.name, first.seed) for first in trained_now] == [("ferplus_teacher", 0)]
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


def difference(**options) -> Experiment:
    experiment = load_experiment("affectnet_small_disentangled")
    network = {**experiment.network.options, **options}
    return replace(experiment, network=replace(experiment.network, options=network))


def test_an_encoder_is_an_earlier_stage(tmp_path: Path) -> None:
    seen: list[Experiment] = []
    ready = with_earlier_stages(
        difference(), lambda first: seen.append(first) or tmp_path, tmp_path
    )
    assert [first.name for first in seen] == ["affectnet_small_emotion_encoder"]
    assert seen[0].dataset.neutral == "none"
    assert ready.network.options["encoder"] == str(tmp_path)
    # A network that is built afresh is none.
    for name in ("compact", "mobilenet_v3_large"):
        assert with_earlier_stages(difference(encoder=name), seen.append, tmp_path)
    assert len(seen) == 1


def test_an_earlier_stage_sees_no_test_subject_of_the_later_one(tmp_path: Path) -> None:
    experiment = load_experiment("ctbc_disentangled")
    fold = replace(experiment, dataset=replace(experiment.dataset, fold=3))
    seen: list[Experiment] = []
    with_earlier_stages(fold, lambda first: seen.append(first) or tmp_path, tmp_path)
    dataset = seen[0].dataset
    assert (dataset.name, dataset.split, dataset.folds, dataset.fold) == ("ctbc", "folds", 10, 3)
    # On drawn faces too, where only the later stage reads pairs.
    drawn = replace(fold.dataset, name="synthetic_faces", fallback_for="ctbc", limit=1000)
    with_earlier_stages(
        replace(fold, dataset=drawn), lambda first: seen.append(first) or tmp_path, tmp_path
    )
    assert seen[1].dataset == replace(drawn, neutral="none")


def test_encoders_are_loaded_and_named(trained: Path, tmp_path: Path) -> None:
    pair = (2, 16, 16, 1)
    options, line = with_encoders({"encoder": str(trained), "hidden": []}, pair)
    assert options["encoder"].output["embedding"].shape == (None, 8)
    assert options["hidden"] == []
    assert line.startswith(f"encoder {trained / 'best.keras'} (")
    options, line = with_encoders(
        {"encoder": "compact", "identity": "mobilenet_v3_small", "identity_weights": "imagenet"},
        pair,
    )
    assert options["encoder"] == "compact"
    assert line == (
        "encoder compact: fresh; identity mobilenet_v3_small: ImageNet weights of "
        "keras.applications"
    )
    assert with_encoders({"width": 2}, pair) == ({"width": 2}, "")

    encoder = build_encoder("compact", (16, 16, 1), SMALL)
    encoder.save_weights(tmp_path / "own.weights.h5")
    options, line = with_encoders(
        {
            "encoder": "compact",
            "encoder_options": SMALL,
            "encoder_weights": str(tmp_path / "own.weights.h5"),
        },
        pair,
    )
    assert set(options) == {"encoder"}
    for found, expected in zip(
        options["encoder"].get_weights(), encoder.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert "own.weights.h5" in line
    with pytest.raises(ModelFileError, match="Cannot read"):
        with_encoders({"encoder": "compact", "encoder_weights": "lost.h5"}, pair)


def test_the_kept_network_is_a_mean_of_start_and_end(trained: Path, tmp_path: Path) -> None:
    from fer_keras.loading.keras_files import load_network

    moving = network(NAMES)
    load_start(moving, NAMES, str(trained), whole=True)
    before = moving.get_weights()
    save = keeping_start(save_network, moving, 0.25)
    after = [weight + 1 for weight in before]
    moving.set_weights(after)
    save(moving, tmp_path / "kept.keras")
    kept, _ = load_network(tmp_path / "kept.keras")
    for found, start in zip(kept.get_weights(), before, strict=True):
        np.testing.assert_allclose(found, start + 0.75, rtol=1e-6)
    # Training goes on from where it was.
    for found, expected in zip(moving.get_weights(), after, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_mean_needs_a_start_for_every_layer(trained: Path) -> None:
    other = network(("neutral", "fear"))
    with pytest.raises(ConfigError, match=r"for every layer. Received none for logits"):
        load_start(other, ("neutral", "fear"), str(trained), whole=True)
