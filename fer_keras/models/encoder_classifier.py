"""`encoder_classifier`: an encoder and one linear layer, all of it trained.

For networks that others start from, at their own size: the ResNet-50 of VGGFace2, as EAC trains it
(Zhang et al., "Learn from All: Erasing Attention Consistency for Noisy Label Facial Expression
Recognition", ECCV 2022), the ResNet-50 of ImageNet and MobileNetV3.
"""

from collections.abc import Mapping
from typing import Any

import keras

from fer_keras.common.constraints import Rate
from fer_keras.models.encoders import build_encoder

# A random encoder of 8 channels.
SMALL = {
    "encoder": "compact",
    "encoder_options": {"stem_filters": 4, "widths": [8], "depths": [1]},
}


def build(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    encoder: Any = "resnet50_vggface2",
    encoder_options: Mapping[str, Any] | None = None,
    encoder_weights: str = "none",
    dropout: Rate = 0.0,
) -> Any:
    """Builds the network.

    Args:
        image_shape: `(height, width, channels)`; 224x224x3 for trained ResNet-50s.
        num_classes: Number of classes.
        encoder: A name that `fer_keras.models.encoders` knows or a `keras.Model` with an
            `embedding`. In an experiment also a `.keras` file, a run folder or an experiment.
        encoder_options: Options of the encoder, where it is given by its name.
        encoder_weights: `"none"`; `"imagenet"` for MobileNetV3 and `resnet50_imagenet`. In an
            experiment also a file: the `.pkl` of VGGFace2's ResNet-50, or `.h5` of
            `keras.applications`.
        dropout: Rate before the classifier, in [0, 1).

    Returns:
        `keras.Model` from raw pixels in 0..255 to `logits` `(batch, num_classes)`, `embedding`
        `(batch, d)` and, where the embedding is the mean of a map, `features` `(batch, h, w, d)`:
        7x7x2048 for a ResNet-50 at 224x224.
    """
    trunk = build_encoder(encoder, image_shape, encoder_options, encoder_weights)
    embedding = trunk.output
    dropped = keras.layers.Dropout(dropout, name="classifier_dropout")(embedding)
    logits = keras.layers.Dense(num_classes, name="logits")(dropped)
    outputs = {"logits": logits, "embedding": embedding}
    pooling = embedding._keras_history.operation
    if isinstance(pooling, keras.layers.GlobalAveragePooling2D):
        outputs["features"] = pooling.input
    return keras.Model(trunk.input, outputs, name="encoder_classifier")
