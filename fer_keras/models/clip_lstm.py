"""`clip_lstm`: an encoder for every frame, an LSTM over the frames, additive attention over time.

Source: the network "CNN + LSTM with attention" of the public program
jerry940100/Facial-Expression-Recognition, after Bahdanau et al., "Neural machine translation by
jointly learning to align and translate" (ICLR 2015): `u = tanh(H W)`, `a = softmax(u v)` over time,
context `sum a H`. The source's W and v are no parameters of its network and are never trained; here
they are. Its encoder is MobileNetV3-Large: `encoder=mobilenet_v3_large`.

The classifier reads the context and every hidden state alike. The context is a weighted mean of the
states, so a clip's logits are the same mean of its frames': what a frame's logits say is what the
network makes of the clip up to there.
"""

from collections.abc import Mapping
from typing import Any

import keras

from fer_keras.common.constraints import Count, Rate
from fer_keras.models.clips import SMALL_ENCODER, read_frames

INPUT_KIND = "clip"
SMALL = {**SMALL_ENCODER, "units": 8, "attention_units": 4}


def build(
    clip_shape: tuple[int, int, int, int],
    num_classes: int,
    *,
    encoder: Any = "compact",
    encoder_options: Mapping[str, Any] | None = None,
    encoder_weights: str = "none",
    train_encoder: bool = True,
    units: Count = 64,
    attention_units: Count = 32,
    dropout: Rate = 0.3,
) -> Any:
    """Builds the network.

    Args:
        clip_shape: `(frames, height, width, channels)`.
        num_classes: Number of classes.
        encoder: Reads every frame: a name that `fer_keras.models.encoders` knows or a `keras.Model`
            with an `embedding`. In an experiment also a `.keras` file, a run folder or an
            experiment.
        encoder_options: Options of the encoder, where it is given by its name.
        encoder_weights: `"none"`, `"imagenet"`, or in an experiment a file.
        train_encoder: Whether the encoder's weights are trained.
        units: Of the LSTM.
        attention_units: Columns of W.
        dropout: Rate before the classifier, in [0, 1).

    Returns:
        `keras.Model` from raw pixels in 0..255 `(batch, frames, height, width, channels)` to
        `logits` `(batch, num_classes)`, `frame_logits` `(batch, frames, num_classes)` of each frame
        and those before it, `frame_mask` and `attention` `(batch, frames)`, which sums to 1, and
        `embedding` `(batch, units)`, the context.

    Raises:
        ConfigError: If the encoder does not fit the frames.
    """
    clip, vectors, real = read_frames(
        clip_shape, encoder, encoder_options, encoder_weights, train_encoder
    )
    # Padding comes last, so no real frame's state depends on it. Unrolled, the LSTM is built-in
    # operators of TFLite.
    states = keras.layers.LSTM(units, return_sequences=True, unroll=True, name="lstm")(vectors)
    hidden = keras.layers.Dense(attention_units, activation="tanh", name="attention_hidden")(states)
    energies = keras.layers.Dense(1, use_bias=False, name="attention_energy")(hidden)
    energies = keras.layers.Reshape((clip_shape[0],), name="attention_energies")(energies)
    attention = keras.layers.Softmax(name="attention")(energies, mask=real)
    context = keras.layers.Dot(axes=1, name="embedding")([attention, states])
    classifier = keras.layers.Dense(num_classes, name="logits")
    dropped = keras.layers.Dropout(dropout, name="dropout")(context)
    outputs = {
        "logits": classifier(dropped),
        "frame_logits": classifier(states),
        "frame_mask": real,
        "attention": attention,
        "embedding": context,
    }
    return keras.Model(clip, outputs, name="clip_lstm")
