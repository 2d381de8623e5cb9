"""How alike the branches of a network are, and losses that keep them apart.

Heidari and Iosifidis, "Learning Diversified Feature Representations for Facial Expression
Recognition in the Wild" (arXiv:2210.09381, 2022): the similarity of two branches is the mean over a
batch of a Gaussian kernel of what they compute, and a determinant of all similarities measures how
much space the branches span. In `keras.ops` alone.
"""

import math
from typing import Any

from keras import ops

from fer_keras.common.errors import ConfigError, did_you_mean

KINDS = ("logdet", "det", "direct")
DIAGONALS = ("unit", "zero_legacy")

# Identical branches make the matrix singular; a share of the unit matrix keeps it invertible in
# float32 and bounds the loss.
_JITTER = 1e-4
_LEGACY_JITTER = 1e-7


def similarities(features: Any, *, gamma: float = 10.0, normalise: bool = True) -> Any:
    """Similarity of every two branches in every sample, `exp(-gamma |u_i - u_j|^2)`.

    Args:
        features: `(batch, n, ...)`, what each of n branches computes; flattened to vectors.
        gamma: Width of the kernel, above 0.
        normalise: Scale the vectors to length 1 first. Without it the kernel of long vectors, such
            as 512 rectified features, underflows to 0 and has no gradient.

    Returns:
        `(batch, n, n)` float32, 0..1, with ones on the diagonal.
    """
    # float32 also under mixed precision: near branches differ in the last digits.
    vectors = ops.cast(features, "float32")
    vectors = ops.reshape(vectors, (-1, features.shape[1], math.prod(features.shape[2:])))
    if normalise:
        squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
        vectors = vectors * ops.rsqrt(ops.maximum(squares, 1e-6))
    differences = ops.expand_dims(vectors, 2) - ops.expand_dims(vectors, 1)
    return ops.exp(-gamma * ops.sum(ops.square(differences), axis=-1))


def diversity_loss(similarity: Any, *, kind: str = "logdet", diagonal: str = "unit") -> Any:
    """A loss that falls as branches become different.

    - `"logdet"`: `-log det S`, 0 when all branches differ; also for near branches its gradient is
      of use. For n branches of equal similarity s it is
      `-log(1 + (n - 1) s) - (n - 1) log(1 - s)`: 3.936 for n = 9, s = 0.5.
    - `"det"`: `-det S`, -1 when all differ and 0 when two agree, where it is almost flat.
    - `"direct"`: the sum of the similarities of different branches, 0..n (n - 1).

    Args:
        similarity: S, `(n, n)`, with ones on the diagonal.
        kind: One of `KINDS`.
        diagonal: `"unit"`, or `"zero_legacy"`, the matrix of the authors' program: its diagonal is
            left 0, so for an odd number of branches `-det` falls as they become MORE alike (-3.0994
            for n = 9, s = 0.9). For the repetition of old results; not for `"logdet"`. TensorFlow
            computes this determinant without XLA only (`training.jit_compile=off` on a GPU).

    Returns:
        Scalar, float32.

    Raises:
        ConfigError: An unknown kind or diagonal, or the logarithm of the legacy determinant.
    """
    check_options(kind, diagonal)
    n = similarity.shape[0]
    unit = ops.eye(n, dtype="float32")
    if kind == "direct":
        return ops.sum(similarity * (1.0 - unit))
    if diagonal == "zero_legacy":
        return -ops.det(similarity * (1.0 - unit) + _LEGACY_JITTER * unit)
    # The division keeps the ones on the diagonal, so that the loss of different branches stays 0.
    factor = ops.cholesky((similarity + _JITTER * unit) / (1.0 + _JITTER))
    log_det = 2.0 * ops.sum(ops.log(ops.diagonal(factor)))
    return -log_det if kind == "logdet" else -ops.exp(log_det)


def check_options(kind: str, diagonal: str) -> None:
    """Refuses what `diversity_loss` cannot do, before anything is computed.

    Args:
        kind: To be one of `KINDS`.
        diagonal: To be one of `DIAGONALS`.

    Raises:
        ConfigError: An unknown kind or diagonal, or the logarithm of the legacy determinant.
    """
    if kind not in KINDS:
        raise ConfigError(f"Unknown diversity kind {kind!r}. {did_you_mean(str(kind), KINDS)}")
    if diagonal not in DIAGONALS:
        raise ConfigError(
            f"Unknown diagonal {diagonal!r}. {did_you_mean(str(diagonal), DIAGONALS)}"
        )
    if kind == "logdet" and diagonal == "zero_legacy":
        raise ConfigError(
            "Expected diagonal='unit' for kind='logdet': with zeros on the diagonal the "
            "determinant of an even number of branches is negative and has no logarithm. "
            "Received: diagonal='zero_legacy'"
        )


def mean_similarity(similarity: Any) -> Any:
    """The mean similarity of different branches.

    Args:
        similarity: `(..., n, n)` with ones on the diagonal, n >= 2.

    Returns:
        `(...)` float32, 0..1.
    """
    n = similarity.shape[-1]
    return (ops.sum(similarity, axis=(-2, -1)) - n) / (n * (n - 1))
