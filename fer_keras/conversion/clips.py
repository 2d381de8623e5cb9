"""The two TFLite files of a network over clips: its frame encoder and its sequence head.

A camera gets a clip frame by frame, so the network is cut where its frames meet: the encoder runs
once for a new frame, the head over what the encoder made of the last ones. What is compared with
Keras is what the runtime answers with both files (`fer_keras.runtime.clips`).
"""

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from fer_keras.common.errors import ExportError
from fer_keras.conversion import tflite as conversion
from fer_keras.conversion.parity import compare
from fer_keras.data.clips import real_frames
from fer_keras.runtime.clips import ClipNetwork
from fer_keras.runtime.export_files import ModelFiles

if TYPE_CHECKING:
    from fer_keras.data.samples import Samples

PRECISIONS = ("float32", "float16")
_TIMING_RUNS, _WARM_UP_RUNS = 200, 20
# As `conversion.convert_float16` does: as few weights stay in float32 as the gate needs.
_FLOAT_SHARES = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class ClipParts:
    """A network over clips, cut in two.

    Attributes:
        encoder: `keras.Model` from frames `(batch, height, width, channels)` to features.
        head: `keras.Model` from the features of a clip `(batch, frames, ...)` and the mask of its
            real frames `(batch, frames)` to the probabilities of the clip `(batch, classes)` and of
            its frames `(batch, frames, classes)`.
        whole: `keras.Model` from clips to both probabilities.
    """

    encoder: Any
    head: Any
    whole: Any


def cut(network: Any, temperature: float) -> ClipParts:
    """Cuts a network where its frames meet.

    Args:
        network: Functional network over clips, see `fer_keras.models.clips`.
        temperature: What the logits are divided by; fitted to clips, used for frames too.

    Returns:
        Its parts, on the same weights.
    """

    def probabilities(name: str) -> Any:
        scale = keras.layers.Rescaling(1.0 / temperature, dtype="float32")
        return keras.layers.Softmax(dtype="float32")(scale(network.output[name]))

    features = network.get_layer("frame_features")
    frame = keras.Input(network.inputs[0].shape[2:], name="image")
    between = [features.output, network.get_layer("frame_mask").output]
    scores = [probabilities("logits"), probabilities("frame_logits")]
    return ClipParts(
        keras.Model(frame, features.layer(frame), name="frame_encoder"),
        keras.Model(between, scores, name="sequence_head"),
        keras.Model(network.inputs[0], scores, name="deploy"),
    )


def build_clip_files(
    network: Any, temperature: float, class_names: Sequence[str], folder: Path, held_out: "Samples"
) -> dict[str, Any]:
    """Writes encoder and head, compares both together with Keras.

    Args:
        network: Functional network over clips in float32.
        temperature: Inside the head.
        class_names: In the order of the logits.
        folder: Where the files go.
        held_out: Clips of the validation split.

    Returns:
        The parity record of the manifest.

    Raises:
        ExportError: A conversion failed, or the files differ from Keras by more than is allowed.
    """
    parts = cut(network, temperature)
    clips, labels = np.asarray(held_out.images), held_out.labels
    expected, by_frame = parts.whole.predict(clips.astype(np.float32), batch_size=32, verbose=0)
    real = real_frames(clips)
    files32 = ClipFiles(
        conversion.convert(conversion.frozen_function(parts.encoder), "float32"),
        conversion.convert(_frozen_head(parts.head), "float32"),
    )
    models: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for precision in PRECISIONS:
        for share in (0.0,) if precision == "float32" else _FLOAT_SHARES:
            files = files32 if precision == "float32" else files32.in_float16(share)
            runtime = files.network(class_names, clips.shape[1:])
            scores, frame_scores = _answers(runtime, clips, real)
            parity = compare(scores, expected, labels)
            frames = compare(frame_scores, by_frame[real], np.repeat(labels, real.sum(axis=1)))
            found = [p for p in (parity.problem(precision), frames.problem(precision)) if p]
            if not found:
                break
        problems += found
        encoder_ms, head_ms = (0.0, 0.0) if found else _times_ms(runtime, clips[0])
        models[precision] = {
            "bytes": len(files.encoder) + len(files.head),
            "encoder_bytes": len(files.encoder),
            "head_bytes": len(files.head),
            "float_operators": files.float_operators,
            "operators": files.operators,
            "max_difference": max(parity.max_difference, frames.max_difference),
            "same_arg_max": parity.same_arg_max,
            "accuracy": parity.accuracy,
            "ece": parity.ece,
            "frame_accuracy": frames.accuracy,
            "ms_per_face": round(encoder_ms + head_ms, 4),
            "encoder_ms": encoder_ms,
            "head_ms": head_ms,
        }
        (folder / encoder_file(precision)).write_bytes(files.encoder)
        (folder / head_file(precision)).write_bytes(files.head)
    if problems:
        raise ExportError(
            f"Not published: on {len(clips)} validation clips encoder and head together differ "
            f"from Keras by more than is allowed. {'. '.join(problems)}."
        )
    return {
        "n": len(clips),
        "num_frames": int(real.sum()),
        "split": held_out.split,
        "keras_accuracy": float((expected.argmax(axis=1) == labels).mean()),
        "timing_runs": _TIMING_RUNS,
        "models": models,
    }


def encoder_file(precision: str) -> str:
    """The name of an encoder's file."""
    return f"encoder_{precision}.tflite"


def head_file(precision: str) -> str:
    """The name of a head's file."""
    return f"head_{precision}.tflite"


@dataclass(frozen=True)
class ClipFiles:
    """The bytes of both files, and how many of their operators with weights keep float32."""

    encoder: bytes
    head: bytes
    float_operators: int = 0
    operators: int = 0

    def in_float16(self, kept_share: float) -> "ClipFiles":
        """The same with their weights stored in 16 bits.

        Args:
            kept_share: Share of each file's operators, from the input on, that stay as they are.
        """
        encoder, kept, total = conversion.half_weights(self.encoder, kept_share)
        head, kept_too, total_too = conversion.half_weights(self.head, kept_share)
        return ClipFiles(encoder, head, kept + kept_too, total + total_too)

    def network(self, class_names: Sequence[str], clip_shape: Sequence[int]) -> ClipNetwork:
        """Both files as the runtime runs them, on one thread.

        Args:
            class_names: In the order of the probabilities.
            clip_shape: `(frames, height, width, channels)`.
        """
        frames, height, width, channels = (int(side) for side in clip_shape)
        where = Path("the converted model")
        size = (height, width)
        names = tuple(class_names)
        files = ModelFiles(where, self.encoder, names, size, channels, "clip", self.head, frames)
        return ClipNetwork(files, 1)


def _frozen_head(head: Any) -> Any:
    """The head's graph for one clip, with its weights as constants."""
    features, mask = (
        tf.TensorSpec((1, *tensor.shape[1:]), tf.float32, name=name)
        for tensor, name in zip(head.inputs, ("features", "mask"), strict=True)
    )

    @tf.function(input_signature=[features, mask])
    def graph(features: Any, mask: Any) -> Any:
        return tuple(head([features, mask], training=False))

    return convert_variables_to_constants_v2(graph.get_concrete_function())


def _answers(
    runtime: ClipNetwork, clips: npt.NDArray[np.uint8], real: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Probabilities of the clips `(n, classes)`, and of all real frames, clip by clip."""

    @functools.lru_cache(maxsize=4096)
    def encoded(frame: bytes) -> npt.NDArray[np.float32]:
        # Clips share frames, so each is encoded once, as on a camera.
        return runtime.encode(np.frombuffer(frame, np.uint8).reshape(clips.shape[2:]))

    read = [
        runtime.read([encoded(frame.tobytes()) for frame in clip[is_real]])
        for clip, is_real in zip(clips, real, strict=True)
    ]
    return np.stack([clip for clip, _ in read]), np.concatenate([frames for _, frames in read])


def _times_ms(runtime: ClipNetwork, clip: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Median milliseconds of the encoder for a new frame and of the head for a full buffer."""
    features = [runtime.encode(clip[0])] * runtime.num_frames
    times = []
    for run in range(_WARM_UP_RUNS + _TIMING_RUNS):
        start = time.perf_counter()
        runtime.encode(clip[run % len(clip)])
        encoded = time.perf_counter()
        runtime.read(features)
        times.append((encoded - start, time.perf_counter() - encoded))
    encoder_s, head_s = np.median(times[_WARM_UP_RUNS:], axis=0)
    return round(1000 * float(encoder_s), 4), round(1000 * float(head_s), 4)
