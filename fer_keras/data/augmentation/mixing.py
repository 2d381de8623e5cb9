"""CutMix and MixUp: steps of an augmentation policy that mix pictures and, with them, targets.

Each picture gets a partner from its batch and a share `lam` of its own, and its target becomes
`lam * own + (1 - lam) * the partner's`. Targets are distributions here, so this is the same for
one-hot targets and for votes; rows still sum to 1. Everything follows from the seed of the step.

Keras' CutMix is not used: it draws alpha anew for each batch and counts fractions of pixels that it
does not paste.
"""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf


@dataclass(frozen=True)
class CutMix:
    """Pastes a rectangle of the partner (Yun et al., "CutMix", ICCV 2019, section 3.1).

    Keras' layer of this name draws alpha anew for every batch and counts fractions of pixels that
    it does not paste; here `lam` is the share of pixels that stayed, counted after the rectangle
    was cut at the border.

    Attributes:
        alpha: Of the distribution Beta(alpha, alpha) of the area aimed at.
        share: Share of the pictures that are mixed.
        halves: Paste all above or all below a row between 40 and 60 % of the height, in place of a
            rectangle: the eyes of one face and the mouth of another, an expression that is truly
            ambiguous. `alpha` is then not used.
    """

    alpha: float = 1.0
    share: float = 0.5
    halves: bool = False

    def __call__(self, images: Any, targets: Any, seed: Any) -> tuple[Any, Any]:
        """Mixes a batch.

        Args:
            images: `(batch, height, width, channels)` float32.
            targets: `(batch, classes)` float32.
            seed: int32 `(2,)`.

        Returns:
            Images and targets of the same shapes.
        """
        seeds = [tf.random.fold_in(seed, draw) for draw in range(4)]
        batch, height, width = (tf.shape(images)[axis] for axis in range(3))
        boxes = self._halves if self.halves else self._rectangles
        top, bottom, left, right = boxes(batch, height, width, seeds[0], seeds[1])
        chosen = tf.random.stateless_uniform((batch,), seeds[2]) < self.share
        bottom = tf.where(chosen, bottom, top)
        y, x = tf.range(height)[None, :, None], tf.range(width)[None, None, :]
        rows = (y >= top[:, None, None]) & (y < bottom[:, None, None])
        columns = (x >= left[:, None, None]) & (x < right[:, None, None])
        partner = _partners(batch, seeds[3])
        mixed = tf.where((rows & columns)[..., None], tf.gather(images, partner), images)
        pasted = (bottom - top) * (right - left) / (height * width)
        lam = 1.0 - tf.cast(pasted, tf.float32)
        return mixed, _mix(targets, partner, lam)

    def _rectangles(
        self, batch: Any, height: Any, width: Any, seed: Any, place_seed: Any
    ) -> tuple[Any, Any, Any, Any]:
        # In the proportions of the picture, its centre anywhere in it.
        side = tf.sqrt(1.0 - _beta(self.alpha, batch, seed))
        place = tf.random.stateless_uniform((2, batch), place_seed)

        def ends(length: Any, middle: Any) -> tuple[Any, Any]:
            pixels = tf.cast(length, tf.float32)
            cut = tf.cast(tf.round(side * pixels), tf.int32)
            first = tf.cast(middle * pixels, tf.int32) - cut // 2
            return tf.clip_by_value(first, 0, length), tf.clip_by_value(first + cut, 0, length)

        return *ends(height, place[0]), *ends(width, place[1])

    def _halves(
        self, batch: Any, height: Any, width: Any, seed: Any, place_seed: Any
    ) -> tuple[Any, Any, Any, Any]:
        share = tf.random.stateless_uniform((batch,), seed, 0.4, 0.6)
        row = tf.cast(tf.round(share * tf.cast(height, tf.float32)), tf.int32)
        above = tf.random.stateless_uniform((batch,), place_seed) < 0.5
        nothing = tf.zeros_like(row)
        top, bottom = tf.where(above, nothing, row), tf.where(above, row, height)
        return top, bottom, nothing, nothing + width


@dataclass(frozen=True)
class MixUp:
    """Blends each picture with its partner (Zhang et al., "mixup", ICLR 2018, section 2).

    Attributes:
        alpha: `lam` is drawn from Beta(alpha, alpha); at 0.2 most pictures keep nearly all of one.
    """

    alpha: float = 0.2

    def __call__(self, images: Any, targets: Any, seed: Any) -> tuple[Any, Any]:
        """Mixes a batch; see `CutMix`."""
        batch = tf.shape(images)[0]
        lam = _beta(self.alpha, batch, tf.random.fold_in(seed, 0))
        partner = _partners(batch, tf.random.fold_in(seed, 1))
        share = lam[:, None, None, None]
        mixed = share * images + (1.0 - share) * tf.gather(images, partner)
        return mixed, _mix(targets, partner, lam)


def _mix(targets: Any, partner: Any, lam: Any) -> Any:
    return lam[:, None] * targets + (1.0 - lam[:, None]) * tf.gather(targets, partner)


def _partners(batch: Any, seed: Any) -> Any:
    """A random order of the batch; a picture may be its own partner."""
    return tf.argsort(tf.random.stateless_uniform((batch,), seed))


def _beta(alpha: float, batch: Any, seed: Any) -> Any:
    """`(batch,)` draws from Beta(alpha, alpha), as the share of one of two gamma draws."""
    draws = tf.random.stateless_gamma(tf.stack([batch, 2]), seed, alpha)
    return tf.math.divide_no_nan(draws[:, 0], draws[:, 0] + draws[:, 1])
