"""The drawn faces: determinism, action units, splits, votes, clips, and that they are not easy."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_keras.common.errors import DataError
from fer_keras.common.labels import EMOTIONS
from fer_keras.data.datasets import synthetic_faces
from fer_keras.data.drawn_faces.face_canvas import OCCLUSIONS, View
from fer_keras.data.drawn_faces.face_drawing import draw_face
from fer_keras.data.drawn_faces.face_geometry import (
    ACTION_UNITS,
    BEARDS,
    HAIR_STYLES,
    Face,
    face_shapes,
)
from fer_keras.data.drawn_faces.face_parameters import (
    PROTOTYPES,
    Expression,
    make_expression,
    make_identity,
)
from fer_keras.data.samples import SPLITS, pixel_sha256
from fer_keras.data.votes import VOTE_COLUMNS, targets_from_votes


def test_drawing_needs_no_training_stack() -> None:
    code = (
        "import sys, fer_keras.data.datasets.synthetic_faces as s; list(s.generate(1));"
        "heavy = {'tensorflow', 'keras', 'tensorflow_datasets', 'sklearn', 'matplotlib'};"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_samples_repeat_and_do_not_depend_on_how_many_are_drawn() -> None:
    few = list(synthetic_faces.generate(3, seed=5))
    synthetic_faces.make_identity.cache_clear()
    many = list(synthetic_faces.generate(20, seed=5))
    assert [sample.sha256 for sample in few] == [sample.sha256 for sample in many[:3]]
    assert all((a.votes == b.votes).all() for a, b in zip(few, many[:3], strict=True))
    assert len({sample.sha256 for sample in many}) == 20
    assert few[0].sha256 != next(synthetic_faces.generate(1, seed=6)).sha256


def test_sample_says_what_it_is() -> None:
    for size, channels in ((48, 1), (64, 3)):
        for index, sample in enumerate(
            synthetic_faces.generate(24, 7, size=size, channels=channels, first=8)
        ):
            assert sample.image.shape == (size, size, channels)
            assert sample.image.dtype == np.uint8
            assert sample.image.std() > 3
            assert sample.sha256 == pixel_sha256(sample.image)
            assert sample.source == f"synthetic:7:{8 + index}"
            assert sample.age_group in ("child", "adult")
            assert sample.votes.shape == (len(VOTE_COLUMNS),)
            assert sample.votes.sum() == 10
            assert sample.action_units.shape == (len(ACTION_UNITS),)
            assert 0 <= sample.action_units.min() <= sample.action_units.max() <= 1
            assert EMOTIONS[sample.label] == sample.emotion
            assert (sample.intensity == 0) == (sample.emotion == "neutral")


def test_landmarks_lie_in_the_box_and_in_order() -> None:
    for sample in synthetic_faces.generate(32, 3):
        x, y, width, height = sample.box
        assert x >= 0
        assert y >= 0
        assert x + width <= 48 + 1e-6
        assert y + height <= 48 + 1e-6
        left_eye, right_eye, nose, left_mouth, right_mouth = sample.landmarks
        inside = (sample.landmarks >= (x, y)) & (sample.landmarks <= (x + width, y + height))
        assert inside.all()
        assert left_eye[0] < right_eye[0]
        assert left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < min(left_mouth[1], right_mouth[1])
        assert min(left_eye[1], right_eye[1]) < nose[1] < max(left_mouth[1], right_mouth[1])


def _corner_height(shapes: dict[str, np.ndarray]) -> float:
    return -float(shapes["corner_right"][0, 1])


def _mouth_width(shapes: dict[str, np.ndarray]) -> float:
    return float(shapes["corner_right"][0, 0] - shapes["corner_left"][0, 0])


def _inner_brow_height(shapes: dict[str, np.ndarray]) -> float:
    return -float(shapes["brow_right"][0, 1])


def _outer_brow_height(shapes: dict[str, np.ndarray]) -> float:
    half = len(shapes["brow_right"]) // 2
    return -float(shapes["brow_right"][half - 1, 1])


def _brow_gap(shapes: dict[str, np.ndarray]) -> float:
    return float(shapes["brow_right"][0, 0] - shapes["brow_left"][0, 0])


def _upper_lid_height(shapes: dict[str, np.ndarray]) -> float:
    return -float(shapes["lid_top_right"][:, 1].min())


def _eye_opening(shapes: dict[str, np.ndarray]) -> float:
    return float(shapes["lid_bottom_right"][:, 1].max() - shapes["lid_top_right"][:, 1].min())


def _mouth_opening(shapes: dict[str, np.ndarray]) -> float:
    return float((shapes["mouth_bottom"][:, 1] - shapes["mouth_top"][:, 1]).max())


def _chin_depth(shapes: dict[str, np.ndarray]) -> float:
    return float(shapes["head"][:, 1].max())


def _upper_lip_height(shapes: dict[str, np.ndarray]) -> float:
    return -float(shapes["lip_top"][:, 1].min())


def _lip_thickness(shapes: dict[str, np.ndarray]) -> float:
    return float(shapes["lip_bottom"][:, 1].max() - shapes["lip_top"][:, 1].min())


@pytest.mark.parametrize(
    ("unit", "measure", "direction"),
    [
        (1, _inner_brow_height, 1),
        (2, _outer_brow_height, 1),
        (4, _inner_brow_height, -1),
        (4, _brow_gap, -1),
        (5, _upper_lid_height, 1),
        (6, _eye_opening, -1),
        (7, _eye_opening, -1),
        (9, _inner_brow_height, -1),
        (10, _upper_lip_height, 1),
        (12, _corner_height, 1),
        (12, _mouth_width, 1),
        (15, _corner_height, -1),
        (20, _mouth_width, 1),
        (23, _lip_thickness, -1),
        (24, _lip_thickness, -1),
        (25, _mouth_opening, 1),
        (26, _mouth_opening, 1),
        (26, _chin_depth, 1),
    ],
)
def test_action_units_move_the_face_as_the_facs_manual_says(unit, measure, direction) -> None:
    for subject in range(4):
        face = make_identity(11, subject)
        values = [measure(face_shapes(face, {unit: level})) for level in (0.0, 0.3, 0.6, 1.0)]
        assert (np.diff(values) * direction > 0).all()


def test_one_sided_unit_leaves_the_other_side() -> None:
    rest = face_shapes(Face(), {})
    right = face_shapes(Face(), {12: 1.0}, {12: 1.0})
    assert right["corner_right"][0, 1] < rest["corner_right"][0, 1] - 0.1
    np.testing.assert_allclose(right["corner_left"], rest["corner_left"])


def test_every_unit_changes_the_picture() -> None:
    rest, _, _ = draw_face(Face(), {}, size=96)
    for unit in ACTION_UNITS:
        moved, _, _ = draw_face(Face(), {unit: 1.0}, size=96)
        assert np.abs(moved.astype(int) - rest).max() > 20, unit


def test_pose_moves_features_by_depth() -> None:
    _, front, _ = draw_face(Face(), {}, View())
    _, turned, _ = draw_face(Face(), {}, View(yaw=20))
    shift = turned[:, 0] - front[:, 0]
    assert (shift > 0).all()
    assert shift[2] > shift[[0, 1, 3, 4]].max()  # the nose lies in front


def test_every_style_and_occlusion_is_drawn() -> None:
    pictures = [draw_face(Face(hair_style=style), {})[0] for style in HAIR_STYLES]
    pictures += [draw_face(Face(beard=beard), {})[0] for beard in BEARDS[1:]]
    pictures += [draw_face(Face(), {}, View(occlusion=name))[0] for name in OCCLUSIONS[1:]]
    pictures.append(draw_face(Face(glasses=True), {})[0])
    assert len({pixel_sha256(picture) for picture in pictures}) == len(pictures)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(DataError, match=r"action_units: .*\[3\]"):
        draw_face(Face(), {3: 1.0})
    with pytest.raises(DataError, match="size"):
        draw_face(Face(), {}, size=8)
    with pytest.raises(DataError, match="occlusion"):
        draw_face(Face(), {}, View(occlusion="tree"))
    with pytest.raises(DataError, match="channels"):
        synthetic_faces.generate(1, channels=2)
    with pytest.raises(DataError, match="subject"):
        synthetic_faces.generate(1, subjects=())
    with pytest.raises(DataError, match="split"):
        synthetic_faces.generate_split("dev")


def test_subjects_are_disjoint_and_classes_balanced() -> None:
    seen: set[str] = set()
    hashes: set[str] = set()
    for split in SPLITS:
        samples = synthetic_faces.draw_samples(split, 64)
        assert set(samples.class_counts().values()) == {8}
        subjects = set(samples.facts["subject"].tolist())
        assert len(subjects) == 8
        assert not subjects & seen
        assert not set(samples.facts["sha256"].tolist()) & hashes
        seen |= subjects
        hashes |= set(samples.facts["sha256"].tolist())
        assert set(samples.facts) == {"source", "sha256", "subject", "votes"} | set(
            synthetic_faces.INFO.attributes
        )
    subjects_of = synthetic_faces.SPLIT_SUBJECTS
    for split, size in synthetic_faces.SPLIT_SIZES.items():
        assert size % (8 * len(subjects_of[split])) == 0
    numbers = [number for split in SPLITS for number in subjects_of[split]]
    assert len(numbers) == len(set(numbers))


def test_first_of_a_split_is_the_same_with_a_limit() -> None:
    few = synthetic_faces.draw_samples("test", 4)
    more = synthetic_faces.draw_samples("test", 12)
    np.testing.assert_array_equal(few.images, more.images[:4])
    assert few.facts["source"][0] == f"synthetic:{synthetic_faces.SEED}:4800"


def test_strides_reach_every_emotion() -> None:
    labels = [sample.label for sample in synthetic_faces.generate(256, size=16)]
    for stride in (2, 4, 8):
        assert len(set(labels[::stride])) == len(EMOTIONS)


def test_votes_follow_strong_expressions_and_leave_weak_ones() -> None:
    rng = np.random.default_rng(0)
    for emotion in EMOTIONS[1:]:
        column = EMOTIONS.index(emotion)
        shares = []
        for intensity in (0.2, 1.0):
            shown = make_expression(emotion, rng, intensity)
            votes = [synthetic_faces.draw_votes(shown, emotion, rng) for _ in range(100)]
            shares.append(np.mean(votes, axis=0) / 10)
        assert shares[1][column] > 0.7
        assert shares[0][column] < 0.35
        assert shares[0].argmax() == 0
    still = synthetic_faces.draw_votes(Expression({}, {}, 0.0), "neutral", rng)
    assert still.argmax() == 0


def test_majority_of_votes_mostly_agrees_with_the_emotion_meant() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(800) % len(EMOTIONS)
    votes = np.stack(
        [
            synthetic_faces.draw_votes(make_expression(EMOTIONS[k], rng), EMOTIONS[k], rng)
            for k in labels
        ]
    )
    targets, kept = targets_from_votes(votes, "majority")
    assert len(kept) > 0.85 * len(labels)
    agreement = (targets.argmax(axis=1) == labels[kept]).mean()
    assert 0.85 < agreement < 1.0


def test_prototypes_name_known_units() -> None:
    assert set(PROTOTYPES) == set(EMOTIONS)
    for variants in PROTOTYPES.values():
        for core, optional in variants:
            assert set(core) | set(optional) <= set(ACTION_UNITS)


def test_module_offers_a_data_set(tmp_path: Path) -> None:
    source = synthetic_faces.find(tmp_path)
    assert source is not None
    files = synthetic_faces.source_files(source)
    assert {"synthetic_faces.py", "face_drawing.py", "face_geometry.py"} <= {f.name for f in files}
    content = synthetic_faces.read(source)
    assert tuple(content.splits) == SPLITS
    example = next(iter(content.splits["validation"]))
    assert set(example.attributes) == set(synthetic_faces.INFO.attributes)
    assert example.source.endswith(":4000")


def test_raw_pixels_are_not_enough_for_a_linear_model() -> None:
    """Logistic regression must fail, or a network's score here would say nothing."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train = synthetic_faces.draw_samples("train", 320)
    test = synthetic_faces.draw_samples("validation", 128)
    # Every third pixel in both directions: enough to tell, and fast.
    pixels = [samples.images[:, ::3, ::3].reshape(len(samples), -1) for samples in (train, test)]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=50))
    model.fit(pixels[0] / 255.0, train.labels)
    assert model.score(pixels[1] / 255.0, test.labels) < 0.45


def test_valence_and_arousal_grow_with_the_intensity_on_the_circle_of_affect() -> None:
    samples = synthetic_faces.draw_samples("train", 64)
    facts = samples.facts
    radius = np.hypot(facts["valence"], facts["arousal"])
    np.testing.assert_allclose(radius, facts["intensity"], atol=1e-6)
    of_class = {
        name: {k: facts[k][samples.labels == i].mean() for k in ("valence", "arousal")}
        for i, name in enumerate(samples.class_names)
    }
    assert of_class["happiness"]["valence"] > 0.2 > of_class["sadness"]["valence"]
    assert of_class["anger"]["arousal"] > 0.2 > of_class["sadness"]["arousal"]
    assert of_class["neutral"] == {"valence": 0, "arousal": 0}
