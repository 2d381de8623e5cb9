"""The diversity of branches: figures worked out by hand, signs, gradients."""

import keras
import numpy as np
import pytest
from keras import ops

from fer_keras.common.errors import ConfigError
from fer_keras.methods.diversity import (
    KINDS,
    diversity_loss,
    mean_similarity,
    similarities,
)


def similarity_matrix(features, **options):
    return ops.mean(similarities(features, **options), axis=0)


def alike(n, s):
    """Branches of equal similarity `s`."""
    return np.full((n, n), s, np.float32) + (1 - s) * np.eye(n, dtype=np.float32)


def loss(similarity, **options):
    return float(ops.convert_to_numpy(diversity_loss(ops.convert_to_tensor(similarity), **options)))


@pytest.mark.backends
def test_similarity_is_the_mean_kernel_over_the_batch():
    u = np.random.default_rng(0).normal(0, 0.2, (5, 3, 2, 2)).astype(np.float32)
    flat = u.reshape(5, 3, 4)
    squared = ((flat[:, :, None] - flat[:, None]) ** 2).sum(-1)
    found = ops.convert_to_numpy(similarity_matrix(u, gamma=3.0, normalise=False))
    np.testing.assert_allclose(found, np.exp(-3 * squared).mean(0), rtol=1e-5)
    unit = flat / np.linalg.norm(flat, axis=-1, keepdims=True)
    squared = ((unit[:, :, None] - unit[:, None]) ** 2).sum(-1)
    each = ops.convert_to_numpy(similarities(u))
    np.testing.assert_allclose(each, np.exp(-10 * squared), rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(np.diagonal(each, axis1=1, axis2=2), 1)
    off_diagonal = (np.exp(-10 * squared).sum((1, 2)) - 3) / 6
    np.testing.assert_allclose(
        ops.convert_to_numpy(mean_similarity(each)), off_diagonal, rtol=1e-4, atol=1e-7
    )


def test_without_unit_length_the_similarity_of_long_vectors_underflows():
    u = np.random.default_rng(0).uniform(0, 2, (4, 2, 512)).astype(np.float32)
    assert ops.convert_to_numpy(similarity_matrix(u, normalise=False))[0, 1] == 0
    assert ops.convert_to_numpy(similarity_matrix(u))[0, 1] > 1e-4


@pytest.mark.backends
@pytest.mark.parametrize(("s", "expected"), [(0.9, 16.3), (0.5, 3.9357), (0.2, 0.83)])
def test_log_determinant_of_nine_branches(s, expected):
    # -log(1 + 8 s) - 8 log(1 - s).
    assert loss(alike(9, s)) == pytest.approx(expected, rel=5e-3)
    assert loss(alike(9, s)) == pytest.approx(-np.log(1 + 8 * s) - 8 * np.log(1 - s), rel=1e-3)
    assert loss(alike(9, s), kind="det") == pytest.approx(-np.exp(-expected), rel=2e-2)
    assert loss(alike(9, s), kind="direct") == pytest.approx(72 * s, rel=1e-5)


def test_branches_that_all_differ():
    different = np.eye(9, dtype=np.float32)
    assert loss(different) == pytest.approx(0, abs=1e-6)
    assert loss(different, kind="det") == pytest.approx(-1, abs=1e-6)
    assert loss(different, kind="direct") == 0


@pytest.mark.parametrize("n", [2, 3, 4, 9])
@pytest.mark.parametrize("kind", KINDS)
def test_with_ones_on_the_diagonal_likeness_costs_for_odd_and_even_numbers(kind, n):
    losses = [loss(alike(n, s), kind=kind) for s in (0.0, 0.2, 0.5, 0.8, 0.95)]
    assert losses == sorted(losses)
    assert losses[0] < losses[-1]


def test_with_zeros_on_the_diagonal_likeness_pays_for_odd_numbers():
    # -(n - 1) (-1)^(n - 1) s^n: the sign error of the authors' program.
    legacy = {"kind": "det", "diagonal": "zero_legacy"}
    assert loss(alike(9, 0.9), **legacy) == pytest.approx(-3.0994, abs=1e-4)
    assert loss(alike(9, 0.9), **legacy) < loss(alike(9, 0.2), **legacy) <= 0
    assert loss(alike(4, 0.9), **legacy) > loss(alike(4, 0.2), **legacy) >= 0
    matrix = np.random.default_rng(0).uniform(0, 1, (15, 15)).astype(np.float32)
    matrix = (matrix + matrix.T) / 2
    expected = -np.linalg.det(matrix * (1 - np.eye(15)))
    assert loss(matrix, **legacy) == pytest.approx(expected, rel=1e-2)
    for n in (3, 4):
        with pytest.raises(ConfigError, match="even number of branches is negative"):
            loss(alike(n, 0.5), kind="logdet", diagonal="zero_legacy")


@pytest.mark.parametrize(
    "features", [pytest.param("identical", marks=pytest.mark.backends), "zero", "far"]
)
@pytest.mark.parametrize(
    ("kind", "diagonal"), [*((kind, "unit") for kind in KINDS), ("det", "zero_legacy")]
)
def test_loss_and_gradient_are_finite(features, kind, diagonal):
    values = {
        "identical": np.ones((2, 3, 4), np.float32),
        "zero": np.zeros((2, 3, 4), np.float32),
        "far": np.eye(3, 4, dtype=np.float32)[None].repeat(2, 0) * 100,
    }[features]
    variable = keras.Variable(values)

    class Branches(keras.Model):
        def __init__(self):
            super().__init__()
            self.branches = variable
            self.built = True

        def call(self, inputs):
            matrix = similarity_matrix(self.branches, normalise=features != "far")
            return ops.reshape(diversity_loss(matrix, kind=kind, diagonal=diagonal), (1, 1))

    model = Branches()
    model.compile(keras.optimizers.SGD(1.0), lambda y, answer: ops.mean(answer), jit_compile=False)
    value = model.train_on_batch(np.zeros((1, 1)), np.zeros((1, 1)))
    assert np.isfinite(value)
    assert np.isfinite(ops.convert_to_numpy(variable)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"kind": "logdett"}, "Nearest: logdet"), ({"diagonal": "zero"}, "zero_legacy")],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        loss(alike(3, 0.5), **options)
