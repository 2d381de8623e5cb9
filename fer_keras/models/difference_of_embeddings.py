"""`difference_of_embeddings`: a face beside the person's neutral face, seen by a frozen encoder.

Source: the network "difference of embeddings" of the public program
jerry940100/Facial-Expression-Recognition. A frozen encoder (there MobileNetV3-Large with ImageNet
weights) turns the neutral and the target face into vectors; dense layers read the difference beside
the target. With the encoder that `emotion_encoder` trained it is the source's "disentangled"
version, which is an experiment, not another network.

The source froze the encoder but left its batch norms in training mode, so that their statistics
drifted; here they do not. What the head reads is an option, for the controls of an ablation.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import keras

from fer_keras.common.constraints import Choices, Count, Rate
from fer_keras.models.encoders import build_encoder
from fer_keras.models.layers import FrozenEncoder

INPUT_KIND = "pair"
READS = ("difference_and_face", "difference", "absolute_difference", "face")

# A random encoder of 8 channels.
SMALL = {
    "encoder": "compact",
    "encoder_options": {"stem_filters": 4, "widths": [8], "depths": [1]},
    "hidden": [16],
}


def build(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    encoder: Any = "mobilenet_v3_large",
    encoder_options: Mapping[str, Any] | None = None,
    encoder_weights: str = "none",
    reads: Annotated[str, Choices(READS)] = "difference_and_face",
    hidden: Sequence[Count] = (256, 128, 64, 32),
    normalize: bool = False,
    dropout: Rate = 0.0,
) -> Any:
    """Builds the network.

    With the defaults and 8 classes 535,272 parameters are trained, those of the head; the encoder
    has 2,971,952, and its moving statistics.

    Args:
        image_shape: `(height, width, channels)` of one picture.
        num_classes: Number of classes.
        encoder: A name that `fer_keras.models.encoders` knows or a `keras.Model` with an
            `embedding`. In an experiment also a `.keras` file, a run folder or an experiment.
        encoder_options: Options of the encoder, where it is given by its name.
        encoder_weights: `"none"`, `"imagenet"`, or in an experiment a file.
        reads: What the head reads: `"difference_and_face"` as in the source;
            `"difference"`; `"absolute_difference"`; `"face"`, which leaves the neutral face out.
        hidden: Units of the dense layers (ReLU); none of them is a linear probe.
        normalize: Whether each vector is brought to mean 0 and variance 1 before the difference is
            taken. Ours: for encoders whose vectors are far from that.
        dropout: Rate before the classifier, in [0, 1). Ours.

    Returns:
        `keras.Model` from raw pixels in 0..255 `(batch, 2, height, width, channels)`, the neutral
        face first, to `logits` `(batch, num_classes)`, `embedding` `(batch, hidden[-1])` and
        `difference` `(batch, d)` of the encoder's vectors. Its layer `embeddings` gives both
        vectors, `(batch, 2, d)`.

    Raises:
        ConfigError: If the encoder does not fit the pictures.
    """
    frozen = build_encoder(encoder, image_shape, encoder_options, encoder_weights)
    pair = keras.Input((2, *image_shape), name="pair")
    vectors = FrozenEncoder(frozen, name="embeddings")(pair)
    if normalize:
        vectors = keras.layers.LayerNormalization(
            center=False, scale=False, epsilon=1e-6, name="normalized"
        )(vectors)
    neutral = _one(vectors, 0, "neutral")
    face = _one(vectors, 1, "face")
    difference = keras.layers.Subtract(name="difference")([face, neutral])
    x = {
        "difference": lambda: difference,
        "absolute_difference": lambda: keras.ops.absolute(difference),
        "face": lambda: face,
        "difference_and_face": lambda: keras.layers.Concatenate(name="read")([difference, face]),
    }[reads]()
    for layer, units in enumerate(hidden, start=1):
        x = keras.layers.Dense(units, activation="relu", name=f"dense{layer}")(x)
    dropped = keras.layers.Dropout(dropout, name="dropout")(x)
    logits = keras.layers.Dense(num_classes, name="logits")(dropped)
    outputs = {"logits": logits, "embedding": x, "difference": difference}
    return keras.Model(pair, outputs, name="difference_of_embeddings")


def _one(vectors: Any, which: int, name: str) -> Any:
    """One of the two vectors `(batch, 2, d)`, as `(batch, d)`."""
    kept = keras.layers.Cropping1D((which, 1 - which), name=f"{name}_alone")(vectors)
    return keras.layers.Reshape((vectors.shape[-1],), name=name)(kept)
