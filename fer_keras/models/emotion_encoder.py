"""`emotion_encoder`: an encoder is trained on emotions beside one that already knows the person.

Source: the network "pretrained emotion encoder" of the public program
jerry940100/Facial-Expression-Recognition, the first stage of its disentangled difference of
embeddings. Because the frozen identity encoder (there ResNet-50, trained on MS-Celeb-1M and
VGGFace2) says who is shown, the trained one (there MobileNetV3-Large with ImageNet weights) need
not. Nothing in the source forces it to: `methods/disentanglement.py` has penalties of ours.

The source feeds one normalised picture to both encoders and leaves a pooling out of the identity
encoder; here each encoder has the scaling and the layers that its weights were trained with.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from fer_keras.common.constraints import Count
from fer_keras.models.encoders import build_encoder
from fer_keras.models.layers import FrozenEncoder

# Both encoders of 8 channels, the identity encoder random.
SMALL = {
    "encoder": "compact",
    "encoder_options": {"stem_filters": 4, "widths": [8], "depths": [1]},
    "identity": "compact",
    "identity_options": {"stem_filters": 4, "widths": [8], "depths": [1]},
    "hidden": [16],
}


def build(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    encoder: Any = "mobilenet_v3_large",
    encoder_options: Mapping[str, Any] | None = None,
    encoder_weights: str = "none",
    identity: Any = "resnet50_vggface2",
    identity_options: Mapping[str, Any] | None = None,
    identity_weights: str = "none",
    hidden: Sequence[Count] = (256, 128, 64, 32),
) -> Any:
    """Builds the network.

    With the defaults and 8 classes 3,785,752 parameters are trained: 2,971,952 of the emotion
    encoder, 813,800 of the head; 23,508,032 of the identity encoder are frozen.

    Args:
        image_shape: `(height, width, channels)`.
        num_classes: Number of classes.
        encoder: The emotion encoder, which is trained: a name that `fer_keras.models.encoders`
            knows or a `keras.Model` with an `embedding`. In an experiment also a `.keras` file, a
            run folder or an experiment.
        encoder_options: Options of the encoder, where it is given by its name.
        encoder_weights: `"none"`, `"imagenet"`, or in an experiment a file.
        identity: The identity encoder, which is frozen, likewise; `"none"` leaves it out, for the
            control without it.
        identity_options: Options of the identity encoder.
        identity_weights: `"none"`, or in an experiment a file.
        hidden: Units of the dense layers (ReLU) before the classifier.

    Returns:
        `keras.Model` from raw pixels in 0..255 to `logits` `(batch, num_classes)`, `embedding`
        `(batch, d)` of the emotion encoder, for the second stage, and, with an identity encoder,
        `identity_embedding` `(batch, e)`.

    Raises:
        ConfigError: If an encoder does not fit the pictures.
    """
    image = keras.Input(image_shape, name="image")
    trained = build_encoder(encoder, image_shape, encoder_options, encoder_weights)
    embedding = trained(image)
    outputs = {"embedding": embedding}
    x = embedding
    if identity != "none":
        frozen = build_encoder(identity, image_shape, identity_options, identity_weights)
        outputs["identity_embedding"] = FrozenEncoder(frozen, name="identity")(image)
        x = keras.layers.Concatenate(name="both")([embedding, outputs["identity_embedding"]])
    for layer, units in enumerate(hidden, start=1):
        x = keras.layers.Dense(units, activation="relu", name=f"dense{layer}")(x)
    outputs["logits"] = keras.layers.Dense(num_classes, name="logits")(x)
    return keras.Model(image, outputs, name="emotion_encoder")
