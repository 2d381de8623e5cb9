"""The subgroups study: groups, tests and tables."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_keras.common.errors import ConfigError, DataError
from fer_keras.common.opencv import cv2
from fer_keras.common.significance import holm
from fer_keras.data.samples import Samples, one_hot
from fer_keras.studies.subgroups import attribute_values, group_of, proxy
from fer_keras.studies.subgroups.gaps import (
    compare_groups,
    difference_interval,
    permutation_p,
)
from fer_keras.study import main

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny_models


def test_the_permutation_test_of_one_stratum_is_fishers() -> None:
    from scipy.stats import fisher_exact

    right = np.repeat([True, False, True, False], [30, 20, 45, 10])
    inside = np.arange(len(right)) < 50
    p = permutation_p(right, inside, np.zeros(len(right), np.int64))
    # Fisher's counts tables that are no likelier, ours gaps that are no smaller: close, not equal.
    exact = fisher_exact([[30, 20], [45, 10]]).pvalue
    assert p == pytest.approx(exact, abs=0.006)


def test_a_group_that_shows_other_classes_has_no_gap_within_them() -> None:
    # Class 0 is always right, class 1 right half the time, in both groups alike.
    strata = np.repeat([0, 1, 0, 1], [80, 20, 20, 80])
    inside = np.arange(200) < 100
    right = np.ones(200, bool)
    right[80:90] = False
    right[120:160] = False
    assert permutation_p(right, inside, np.zeros(200, np.int64)) < 0.001
    assert permutation_p(right, inside, strata) == pytest.approx(1.0)


def test_newcombes_interval() -> None:
    """Newcombe 1998, table II: 56/70 less 48/80, method 10."""
    low, high = difference_interval(56, 70, 48, 80)
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)


def test_holms_correction() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_groups_of_numbers_and_of_texts() -> None:
    groups = group_of(np.array([5.0, 1, 2, 3, 4, 6, np.nan]), 3)
    assert list(groups) == ["1/3: 1 to 2", "2/3: 3 to 4", "3/3: 5 to 6"]
    assert np.flatnonzero(groups["3/3: 5 to 6"]).tolist() == [0, 5]
    groups = group_of(np.array(["kid", "", "adult", "kid"]), 3)
    assert {name: int(who.sum()) for name, who in groups.items()} == {"adult": 1, "kid": 2}
    assert list(group_of(np.array([0, 1, 1]), 3)) == ["0", "1"]
    for values in (np.array(["a", "a"]), np.array([f"s{i}" for i in range(50)])):
        with pytest.raises(DataError, match="2 to 12 groups"):
            group_of(values, 3)


def test_proxies() -> None:
    grey = np.random.default_rng(0).integers(80, 180, (1, 48, 48, 1)).astype(np.uint8)
    blurred = cv2.GaussianBlur(grey[0], (0, 0), 1.5).reshape(grey.shape)
    dim = (grey // 2).astype(np.uint8)
    images = np.concatenate([grey, blurred, dim])
    sharpness = proxy("sharpness", images)
    assert sharpness[0] > 3 * sharpness[1]
    assert sharpness[2] == pytest.approx(sharpness[0], rel=0.05)
    brightness = proxy("brightness", images)
    assert brightness[0] == pytest.approx(grey.mean())
    assert brightness[2] == pytest.approx(grey.mean() / 2, rel=0.02)
    assert proxy("contrast", images)[2] == pytest.approx(grey.std() / 2, rel=0.02)


def _samples(n: int) -> Samples:
    labels = np.arange(n) % 2
    return Samples(
        "made", "validation", ("happiness", "sadness"), "hard",
        np.zeros((n, 4, 4, 1), np.uint8), one_hot(labels, 2),
        {"source": np.array([f"{i}.png" for i in range(n)]),
         "sha256": np.array([f"{i:064x}" for i in range(n)]),
         "subject": np.array([""] * n)},
    )  # fmt: skip


def test_a_model_that_fails_one_group_only() -> None:
    samples = _samples(400)
    inside = np.arange(400) < 100
    predicted = samples.labels.copy()
    predicted[:40] = 0  # the sad ones of the first 40 are called happy
    groups = {"age": {"kids": inside, "adults": ~inside}}
    found = compare_groups("m", predicted, samples, groups, min_group=20)["attributes"]["age"]
    kids, adults = found["groups"]["kids"], found["groups"]["adults"]
    assert (kids["n"], kids["accuracy"], adults["accuracy"]) == (100, 0.8, 1.0)
    assert kids["confusion_matrix"] == [[50, 0], [20, 30]]
    (gap,) = found["gaps"]  # of two groups there is one comparison
    assert (gap["group"], gap["others"]) == ("kids", "adults")
    assert gap["gap"] == pytest.approx(-0.2)
    assert gap["p_within_classes_holm"] < 0.001
    assert gap["recalls"]["happiness"]["p_holm"] == 1.0
    assert gap["recalls"]["sadness"]["gap"] == pytest.approx(-0.4)
    assert gap["recalls"]["sadness"]["p_holm"] < 0.001
    small = compare_groups("m", predicted, samples, groups, min_group=101)
    assert small["attributes"]["age"]["gaps"] == []


def test_an_unknown_attribute() -> None:
    with pytest.raises(ConfigError, match=r"'brighness'.*brightness"):
        attribute_values("brighness", _samples(4), {})


def test_the_study_with_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tiny model is right on bright pictures; the dark ones of one group look happy to it."""
    export = tiny_models.write_export(tmp_path / "export")
    lines = ["source,where"]
    for split in ("train", "validation", "test"):
        for i in range(20):
            emotion, level = ("happiness", 250) if i % 2 else ("sadness", 240 if i < 10 else 5)
            folder = tmp_path / "pictures" / split / emotion
            folder.mkdir(parents=True, exist_ok=True)
            picture = np.full((24, 24), level, np.uint8)
            picture[0, i] = 100  # no two alike
            assert cv2.imwrite(str(folder / f"{i}.png"), picture)
            if split == "validation":
                lines.append(f"{split}/{emotion}/{i}.png,{'indoors' if i < 10 else 'outdoors'}")
    table = tmp_path / "where.csv"
    table.write_text("\n".join(lines) + "\n")
    out = tmp_path / "out"
    words = ["subgroups", str(export), "--dataset", "folder", "--source",
             str(tmp_path / "pictures"), "--min-group", "5"]  # fmt: skip
    assert main([*words, "--csv", str(table), "--output", str(out)]) == 0
    names = sorted(file.name for file in out.iterdir())
    assert names == [
        "subgroups.csv", "subgroups.json", "subgroups.md", "tiny_float32_where.png",
        "tiny_float32_where_indoors.png", "tiny_float32_where_outdoors.png",
    ]  # fmt: skip
    with (out / "subgroups.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["class"] == "all"]
    assert {row["group"]: float(row["accuracy"]) for row in rows} == {
        "indoors": 0.5, "outdoors": 1.0,
    }  # fmt: skip
    record = json.loads((out / "subgroups.json").read_text())
    # The published figures: 2.28 points, standard error about 1.74, so p about 0.19.
    assert record["published"]["gap"] == pytest.approx(-0.0228, abs=1e-4)
    assert record["published"]["p"] == pytest.approx(0.19, abs=0.02)
    assert "indoors against outdoors" in capsys.readouterr().out

    table.write_text("source,where\nnone.png,indoors\n")
    with pytest.raises(DataError, match="No row of the table is about"):
        main([*words, "--csv", str(table)])
    table.write_text("name,where\n0.png,indoors\n")
    with pytest.raises(DataError, match="column 'source' or 'sha256'"):
        main([*words, "--csv", str(table)])
