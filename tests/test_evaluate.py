"""Evaluation by name, its files, and that nobody's results are overwritten."""

import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.prior import parse_prior
from fer_keras.data.samples import Samples
from fer_keras.evaluate import main
from fer_keras.evaluation.evaluate import evaluate, keep_labels
from fer_keras.evaluation.run_data import run_samples
from fer_keras.evaluation.summary import report
from fer_keras.loading.classifier import LoadedModel
from fer_keras.loading.load import load_model

NAMES = ("neutral", "happiness", "anger")


def samples(class_names: tuple[str, ...] = NAMES, split: str = "validation") -> Samples:
    """Six pictures, two of each class; the grey value says the class by name."""
    value = {"neutral": 50, "happiness": 100, "anger": 150}
    labels = np.array([0, 0, 1, 1, 2, 2])
    images = np.stack([np.full((4, 4, 1), value[class_names[label]], np.uint8) for label in labels])
    facts = {
        "source": np.array([f"{split}/{i}.png" for i in range(6)]),
        "sha256": np.array([f"hash{i}" for i in range(6)]),
        "subject": np.array(["ann", "ann", "bob", "bob", "", ""]),
    }
    targets = np.eye(len(class_names), dtype=np.float32)[labels]
    return Samples("fer2013", split, class_names, "hard", images, targets, facts)


def oracle(
    path: Path, class_names: tuple[str, ...] = NAMES, wrong_as: str | None = None
) -> LoadedModel:
    """Knows the class by the grey value; takes anger for `wrong_as` where that is given."""

    def run(images: np.ndarray) -> np.ndarray:
        logits = np.zeros((len(images), len(class_names)), np.float32)
        for i, image in enumerate(images):
            name = {50: "neutral", 100: "happiness", 150: "anger"}.get(int(image[0, 0, 0]))
            if name == "anger" and wrong_as:
                name = wrong_as
            if name:
                logits[i, class_names.index(name)] = 2.0
        return logits

    return LoadedModel(path, "keras", class_names, (4, 4, 1), "a" * 64, 1.0, {}, run)


def test_every_file_is_written(tmp_path: Path) -> None:
    model = oracle(tmp_path, wrong_as="neutral")
    train = dataclasses.replace(samples(split="train"), facts={
        **samples().facts, "sha256": np.array(["hash0", "hash4", "x", "x", "x", "x"])})  # fmt: skip
    figures = evaluate(model, samples(), train_samples=train, output_dir=tmp_path)

    assert figures["accuracy"] == pytest.approx(4 / 6)
    assert figures["without_duplicates"]["num_duplicates"] == 2
    assert figures["without_duplicates"]["accuracy"] == pytest.approx(3 / 4)
    assert json.loads((tmp_path / "result.json").read_text()) == figures
    for name in ("confusion_matrix_validation.png", "reliability_validation.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "predictions_validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "index", "source", "sha256", "true", "predicted", "p_neutral", "p_happiness", "p_anger",
        "duplicate", "subject",
    ]  # fmt: skip
    assert [row["predicted"] for row in rows] == ["neutral"] * 2 + ["happiness"] * 2 + [
        "neutral"
    ] * 2
    assert [row["duplicate"] for row in rows] == ["1", "0", "0", "0", "1", "0"]
    assert rows[2]["subject"] == "bob"
    assert float(rows[0]["p_neutral"]) == pytest.approx(np.exp(2) / (np.exp(2) + 2), abs=1e-6)
    assert not list(tmp_path.glob(".*"))

    text = report(figures)
    assert "0.6667" in text
    assert "n 4 (2 also occur in the training split)" in text
    assert "label rule hard" in text


def test_labels_are_joined_by_name(tmp_path: Path) -> None:
    # Another order, another spelling and a class that the data set does not have.
    model = oracle(tmp_path / "m.keras", ("anger", "contempt", "neutral", "happiness"))
    figures = evaluate(model, samples(), output_dir=tmp_path)
    assert figures["accuracy"] == 1.0
    assert figures["class_names"] == list(NAMES)
    assert figures["model_classes_left_out"] == ["contempt"]
    assert figures["without_duplicates"] is None
    assert "contempt: left out, the rest renormalised" in report(figures)
    # Renormalised among three: softmax of (2, 0, 0), not of (2, 0, 0, 0).
    assert figures["mean_confidence"] == pytest.approx(np.exp(2) / (np.exp(2) + 2), abs=1e-6)
    # It is not the temperature of all its classes, so it is not kept.
    assert not (tmp_path / "calibration.json").exists()


def test_a_class_that_the_model_lacks_is_an_error_with_both_lists(tmp_path: Path) -> None:
    model = oracle(tmp_path, ("happiness", "neutral"))
    with pytest.raises(DataError) as caught:
        evaluate(model, samples(), output_dir=tmp_path)
    assert "anger" in str(caught.value)
    assert "happiness, neutral" in str(caught.value).replace("'", "").replace('"', "")
    assert not list(tmp_path.iterdir())


def test_results_of_something_else_are_not_overwritten(tmp_path: Path) -> None:
    evaluate(oracle(tmp_path / "one" / "a.keras"), samples(), output_dir=tmp_path)
    before = (tmp_path / "result.json").read_bytes()
    other = dataclasses.replace(
        oracle(tmp_path / "two" / "b.keras", wrong_as="neutral"), sha256="b" * 64
    )
    with pytest.raises(ConfigError, match="--overwrite"):
        evaluate(other, samples(), output_dir=tmp_path)
    assert (tmp_path / "result.json").read_bytes() == before
    elsewhere = dataclasses.replace(samples(), name="ferplus", fingerprint="")
    with pytest.raises(ConfigError, match="--output"):
        evaluate(oracle(tmp_path / "one" / "a.keras"), elsewhere, output_dir=tmp_path)
    assert evaluate(other, samples(), output_dir=tmp_path, overwrite=True)["accuracy"] < 1
    # The same model again, and the test split beside it, are no conflict.
    evaluate(other, samples(), output_dir=tmp_path)
    evaluate(other, samples(split="test"), output_dir=tmp_path)
    assert json.loads((tmp_path / "result.json").read_text())["split"] == "validation"
    assert json.loads((tmp_path / "result_test.json").read_text())["split"] == "test"


def test_what_the_training_wrote_stays(tmp_path: Path) -> None:
    figures = evaluate(oracle(tmp_path), samples(), output_dir=tmp_path)
    (tmp_path / "result.json").write_text(
        json.dumps({**figures, "command": "train", "accuracy": 0})
    )
    evaluate(oracle(tmp_path), samples(), output_dir=tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["command"], result["accuracy"]) == ("train", 1.0)


def test_the_temperature_comes_from_validation_and_never_from_test(tmp_path: Path) -> None:
    model = oracle(tmp_path, wrong_as="neutral")
    test = evaluate(model, samples(split="test"), output_dir=tmp_path)
    assert test["calibrated"] is None
    assert not (tmp_path / "calibration.json").exists()

    validation = evaluate(model, samples(), output_dir=tmp_path)
    record = json.loads((tmp_path / "calibration.json").read_text())
    assert record["model_sha256"] == model.sha256
    assert validation["calibrated"]["temperature"] == record["temperature"]
    assert validation["calibrated"]["nll"] < validation["nll"]
    # 4 of 6 right with logits (2, 0, 0), and the wrong ones on another class: the best
    # probabilities are 2/3 and 1/6 each, so 2 / T = ln 4.
    assert record["temperature"] == pytest.approx(2 / np.log(4), rel=1e-4)

    calibrated = dataclasses.replace(model, temperature=record["temperature"])
    test = evaluate(calibrated, samples(split="test"), output_dir=tmp_path)
    assert test["calibrated"]["temperature"] == record["temperature"]
    assert test["nll"] == pytest.approx(validation["nll"])


@pytest.mark.backends
def test_a_keras_file_is_evaluated(tmp_path: Path) -> None:
    import keras

    from fer_keras.loading.keras_files import save_network
    from fer_keras.models.layers import with_class_names

    image = keras.Input((4, 4, 1))
    logits = keras.layers.Dense(3)(keras.layers.Flatten()(image))
    save_network(
        with_class_names(keras.Model(image, {"logits": logits}), NAMES), tmp_path / "m.keras"
    )
    model = load_model(tmp_path / "m.keras")
    figures = evaluate(model, samples(), output_dir=tmp_path)
    predicted = model.logits(samples().images).argmax(axis=1)
    assert figures["accuracy"] == pytest.approx((predicted == samples().labels).mean())
    assert figures["model_sha256"] == model.sha256


def test_ten_crops_are_averaged_and_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    larger = np.pad(samples().images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    # Crops of the first picture that start in its first row look like anger, not neutral.
    larger[0, 0] = 150
    asked: list[Any] = []

    def load_samples(name: str, split: str, image_size: int = 4, **_: Any) -> Samples:
        asked.append(image_size)
        return dataclasses.replace(samples(split=split), images=larger)

    run = tmp_path / "run"
    model = oracle(run / "best.keras")
    monkeypatch.setattr("fer_keras.evaluation.run_data.load_samples", load_samples)
    monkeypatch.setattr("fer_keras.loading.load.load_model", lambda *_, **__: model)
    assert main([str(run), "--dataset", "fer2013", "--ten-crop", "6"]) == 0
    assert asked == [6, 6]
    assert "ten crops of pictures of 6 pixels" in capsys.readouterr().out
    folder = run / "evaluation_best_fer2013" / "ten_crop_6"
    figures = json.loads((folder / "result.json").read_text())
    assert figures["ten_crop_from"] == 6
    assert figures["calibrated"] is None
    with (folder / "predictions_validation.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    # Both upper corners and their mirror images: 4 of 10 crops say anger, 6 neutral.
    logits = np.exp([2 * 0.6, 0, 2 * 0.4])
    assert float(row["p_anger"]) == pytest.approx(logits[2] / logits.sum(), abs=1e-6)

    with pytest.raises(ConfigError, match="ten crops from 6 pixels"):
        evaluate(model, samples(), output_dir=folder)
    with pytest.raises(ConfigError, match=r"--ten-crop: .* 4 pixels. Received: 3"):
        main([str(run), "--dataset", "fer2013", "--ten-crop", "3"])


def test_a_run_is_read_in_the_size_of_its_crops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fer_keras.config import DatasetConfig, Experiment, to_json

    experiment = Experiment("x", DatasetConfig(image_size=44))
    (tmp_path / "experiment.json").write_text(to_json(experiment))
    sizes = []

    def load_splits(config: DatasetConfig, seed: int) -> tuple[Samples, Samples, Samples]:
        sizes.append(config.image_size)
        return samples(), samples(), samples()

    monkeypatch.setattr("fer_keras.data.splits.load_splits", load_splits)
    run_samples(tmp_path, "validation")
    run_samples(tmp_path, "validation", 48)
    assert sizes == [44, 48]


def test_help_answers_at_once() -> None:
    for module in ("evaluate", "export"):
        code = (
            f"import sys; from fer_keras.{module} import main\n"
            "try: main(['--help'])\n"
            "except SystemExit: pass\n"
            "heavy = {'tensorflow', 'keras', 'sklearn', 'matplotlib', 'scipy'} & set(sys.modules)\n"
            "sys.exit(f'imported {heavy}' if heavy else 0)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "examples:" in done.stdout


def test_the_command_reads_the_test_split_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def load_samples(name: str, split: str, **_: Any) -> Samples:
        asked.append(split)
        return samples(split=split)

    monkeypatch.setattr("fer_keras.evaluation.run_data.load_samples", load_samples)
    monkeypatch.setattr(
        "fer_keras.loading.load.load_model", lambda path, **_: oracle(tmp_path / "m.keras")
    )
    model = str(tmp_path / "m.keras")
    assert main([model, "--dataset", "fer2013"]) == 0
    assert asked == ["validation", "train"]
    assert (tmp_path / "evaluation_m_fer2013" / "result.json").is_file()
    assert main([model, "--dataset", "fer2013", "--split", "test"]) == 0
    assert asked[2:] == ["test", "train"]
    assert "fer2013, test split, label rule hard, n 6" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--dataset"):
        main([model])


def test_a_prior_changes_the_answers_and_is_kept_apart(tmp_path: Path) -> None:
    # Anger is answered as neutral: probabilities softmax(2, 0, 0), a ratio of e^2 = 7.39 to 1.
    model = oracle(tmp_path / "m" / "a.keras", wrong_as="neutral")
    prior = {"neutral": 0.8, "happiness": 0.1, "anger": 0.1}
    model = dataclasses.replace(model, manifest={"class_prior": {n: prior[n] for n in NAMES}})
    own = evaluate(model, samples(), output_dir=tmp_path)
    assert own["prior"] == "training"
    # Divided by the prior, neutral is 7.39 / 8 of the two others, which are equal.
    uniform = parse_prior("uniform")
    with pytest.raises(ConfigError, match=r"prior training\), not of .*prior balanced:1"):
        evaluate(model, samples(), output_dir=tmp_path, prior=uniform)
    given = evaluate(model, samples(), output_dir=tmp_path / "b", prior=uniform)
    assert given["prior"] == "balanced:1"
    assert given["per_class"]["neutral"]["recall"] == 0
    assert given["per_class"]["happiness"]["recall"] == 1
    assert "answers for the prior balanced:1" in report(given)
    assert "answers for the prior" not in report(own)
    # An export may name the prior itself.
    named = dataclasses.replace(model, manifest={**model.manifest, "default_prior": "uniform"})
    for prior, expected in ((None, given), (parse_prior("training"), own)):
        figures = evaluate(named, samples(), output_dir=tmp_path / str(prior), prior=prior)
        assert figures["prior"] == expected["prior"]
        assert figures["accuracy"] == expected["accuracy"]


def test_a_model_without_its_prior_cannot_be_asked_for_another(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    model = oracle(tmp_path / "m")
    uniform = parse_prior("uniform")
    with pytest.raises(ConfigError, match=r"do not say how frequent each class was.*/m"):
        evaluate(model, samples(), output_dir=tmp_path / "b", prior=uniform)
    record = {"model_sha256": model.sha256, "class_prior": dict.fromkeys(NAMES, 1 / 3)}
    (tmp_path / "m" / "result.json").write_text(json.dumps(record))
    same = evaluate(model, samples(), output_dir=tmp_path / "b", prior=uniform)
    assert same["accuracy"] == 1


def test_some_labels_alone_are_asked_and_answered(tmp_path: Path) -> None:
    model = oracle(tmp_path / "m" / "a.keras", wrong_as="neutral")
    whole = evaluate(model, samples(), output_dir=tmp_path)
    part = keep_labels(samples(), ["anger", "happiness"])
    assert part.class_names == ("happiness", "anger")
    assert part.labels.tolist() == [0, 0, 1, 1]
    # Anger is taken for neutral, which is no answer now.
    with pytest.raises(ConfigError, match="Choose another --output"):
        evaluate(model, part, output_dir=tmp_path)
    figures = evaluate(model, part, output_dir=tmp_path / "part")
    assert figures["n"] == 4
    assert figures["model_classes_left_out"] == ["neutral"]
    assert figures["per_class"]["happiness"]["recall"] == 1
    assert "only happiness, anger: 4 of 6 pictures" in report(figures)
    assert "neutral" in whole["per_class"]
    votes = dataclasses.replace(
        samples(), targets=np.tile(np.float32([0.5, 0.3, 0.2]), (6, 1)), fingerprint=""
    )
    assert keep_labels(votes, ["neutral", "anger"]).targets[0] == pytest.approx([5 / 7, 2 / 7])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["angry", "neutral"], r"unknown label 'angry'. .*anger"),
        (["anger"], "expected at least two. Received: anger"),
    ],
)
def test_labels_that_cannot_be_kept_are_refused(labels: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        keep_labels(samples(), labels)


def test_the_shares_of_the_pictures_are_estimated(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    model = oracle(tmp_path / "m")
    with pytest.raises(ConfigError, match=r"--estimate-prior: .*class_prior.*/m"):
        evaluate(model, samples(), output_dir=tmp_path / "a", estimate=True)
    record = {"model_sha256": model.sha256, "class_prior": dict.fromkeys(NAMES, 1 / 3)}
    (tmp_path / "m" / "result.json").write_text(json.dumps(record))
    figures = evaluate(model, samples(), output_dir=tmp_path / "a", estimate=True)
    assert figures["estimated_prior"]["shares"]["anger"]["share"] == pytest.approx(1 / 3, abs=1e-4)
    assert "--prior neutral=0.3333 happiness=0.3333 anger=0.3333" in report(figures)
    assert "share by the answers" not in report(evaluate(model, samples(), output_dir=tmp_path))
