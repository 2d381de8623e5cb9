"""The only reader of model files: the trust boundary of the project.

Two formats are read. A `.keras` archive may hold Keras' own layers and layers registered by
`fer_keras`, nothing else: its configuration is checked before Keras sees it, and Keras' safe mode
stays on. A `.tflite` file may hold built-in operators only. Size caps are checked before a file is
opened, checksums before it is interpreted. SavedModels of others are never loaded: their graph may
read and write files while it runs.
"""

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_keras.errors import FerKerasError, ModelFileError, TrainingError
from fer_keras.file_checks import (
    MAX_MODEL_BYTES,
    check_archive,
    check_tensor_sizes,
    check_tflite_operators,
    first_line,
    read_bounded,
    read_json,
)
from fer_keras.files import atomic_path

if TYPE_CHECKING:
    from fer_keras.runtime.model_files import ModelFiles

_SAVED_MODEL_REFUSED = (
    "SavedModels are never loaded: their graph can read and write files when it runs. "
    "Use the .keras file of the run or a .tflite file of its export"
)

_TFLITE_INPUTS = {"float32": np.float32, "uint8": np.uint8}

Images = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LoadedModel:
    """A network that is ready to predict.

    Attributes:
        path: Where it was read from.
        kind: `"keras"` or `"tflite"`.
        class_names: Ordered names of the outputs.
        image_shape: `(height, width, channels)` of one picture.
        sha256: Checksum of the model file, hexadecimal; empty for a network in memory.
        temperature: What `predict` divides the logits by; for `.tflite` it is in the graph.
        manifest: Of the export folder; empty where there is none.
        input_kind: `"image"`; `"pair"` where an input is a neutral face and a face: images are
            then `(n, 2, height, width, channels)`; `"clip"`: `(n, frames, height, width,
            channels)`.
        num_pictures: Pictures of an input: 1, 2 of a pair, the frames of a clip.
    """

    path: Path
    kind: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    sha256: str
    temperature: float
    manifest: Mapping[str, Any] = field(repr=False)
    _run: Callable[[Images], Scores] = field(repr=False)
    _batch_size: int | None = field(default=None, repr=False)
    input_kind: str = "image"
    num_pictures: int = 1
    _run_frames: Callable[[Images], Scores] | None = field(default=None, repr=False)

    @property
    def has_logits(self) -> bool:
        """Whether `logits` works: only where the softmax is not part of the file."""
        return self.kind == "keras"

    def logits(self, images: Images, batch_size: int = 64) -> Scores:
        """The scores before temperature and softmax.

        Args:
            images: `(n, height, width, channels)` uint8, raw pixels 0..255.
            batch_size: Images per call of the network.

        Returns:
            `(n, classes)` float32.

        Raises:
            ModelFileError: The file gives probabilities only, or the images do not fit.
        """
        if not self.has_logits:
            raise ModelFileError(
                f"A .tflite file holds its softmax and gives probabilities, no logits: {self.path}"
            )
        return self._scores(images, batch_size)

    def predict(self, images: Images, batch_size: int = 64) -> Scores:
        """The probability of every class.

        Args:
            images: `(n, height, width, channels)` uint8, raw pixels 0..255.
            batch_size: Images per call of the network.

        Returns:
            `(n, classes)` float32, rows sum to 1.

        Raises:
            ModelFileError: The images do not fit, or the outputs are not finite.
        """
        scores = self._scores(images, batch_size)
        if self.kind == "keras":
            scaled = scores.astype(np.float64) / self.temperature
            scaled -= scaled.max(axis=1, keepdims=True)
            exponentials = np.exp(scaled)
            return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)
        if len(scores) and not np.abs(scores.sum(axis=1) - 1).max() < 0.05:
            raise ModelFileError(
                f"Expected probabilities that sum to 1 from {self.path}. "
                "Received other numbers; is it a model that gives logits?"
            )
        return scores

    def frame_scores(self, clips: Images, batch_size: int = 64) -> Scores:
        """The scores of every frame of clips; those of padding mean nothing.

        Args:
            clips: `(n, frames, height, width, channels)` uint8.
            batch_size: Clips per call of the network.

        Returns:
            `(n, frames, classes)` float32: logits, of a `.tflite` file probabilities.

        Raises:
            ModelFileError: The model reads no clips, or these do not fit.
        """
        if self._run_frames is None:
            raise ModelFileError(f"Expected a model of clips, which scores frames: {self.path}")
        self._check(clips)
        starts = range(0, len(clips), self._batch_size or batch_size)
        size = starts.step
        return np.concatenate([self._run_frames(clips[i : i + size]) for i in starts])

    def _check(self, images: Images) -> None:
        several = () if self.input_kind == "image" else (self.num_pictures,)
        shape = (*several, *self.image_shape)
        if images.shape[1:] != shape or images.dtype != np.uint8:
            raise ModelFileError(
                f"Expected uint8 images of shape (n, {', '.join(map(str, shape))}). "
                f"Received: {images.dtype} {images.shape}. Prepare the data in the model's size: "
                f"{self.path}"
            )

    def _scores(self, images: Images, batch_size: int) -> Scores:
        self._check(images)
        size = self._batch_size or batch_size
        out = np.empty((len(images), len(self.class_names)), np.float32)
        for start in range(0, len(images), size):
            block = np.asarray(images[start : start + size])
            n = len(block)
            if n < size and start:
                # One shape for all calls: a second one would compile the graph again.
                block = np.concatenate([block, np.zeros((size - n, *block.shape[1:]), np.uint8)])
            out[start : start + n] = self._run(block)[:n]
        if not np.isfinite(out).all():
            raise ModelFileError(f"The model gives NaN or infinity for some images: {self.path}")
        return out


def load_model(path: str | Path, *, precision: str = "float32", threads: int = 1) -> LoadedModel:
    """Reads a model for prediction.

    Args:
        path: A run folder (its `best.keras`, with the temperature of `calibration.json` where it
            belongs to that file), a `.keras` file, a `.tflite` file with `manifest.json` or
            `labels.txt` beside it, or an export folder.
        precision: Which file of an export folder: `float32`, `float16`, `dynamic` or `int8`.
        threads: Processor threads of a `.tflite` model.

    Returns:
        The model.

    Raises:
        ModelFileError: Missing, too large, damaged, of an untrusted kind, or without class names.
    """
    where = Path(path)
    if where.is_dir():
        if (where / "best.keras").is_file():
            return _load_run(where)
        if (where / "manifest.json").is_file():
            return _load_tflite(where, precision, threads)
        if (where / "saved_model.pb").exists():
            raise ModelFileError(f"{_SAVED_MODEL_REFUSED}: {where}")
        raise ModelFileError(
            "Expected a run folder (best.keras), an export folder (manifest.json) or a model "
            f"file. Received a folder with neither: {where}"
        )
    if where.suffix == ".keras":
        network, sha256 = load_network(where)
        return from_network(network, path=where, sha256=sha256)
    if where.suffix == ".tflite":
        return _load_tflite(where, None, threads)
    if where.suffix == ".pb":
        raise ModelFileError(f"{_SAVED_MODEL_REFUSED}: {where}")
    if not where.exists():
        raise ModelFileError(f"No such model file or folder: {where}")
    raise ModelFileError(
        "Expected a .keras or .tflite file, a run folder or an export folder. "
        f"Received: {where.suffix or 'no suffix'}. No other format is read: {where}"
    )


def from_network(
    network: Any, *, path: Path | None = None, sha256: str = "", temperature: float = 1.0
) -> LoadedModel:
    """A network in memory, behind the same interface as a file.

    Args:
        network: A functional Keras model whose dict of outputs has `logits`, with `ClassNames`.
        path: Named in messages.
        sha256: Of the file it came from.
        temperature: For `predict`.

    Returns:
        The model.

    Raises:
        ModelFileError: No `logits`, no class names, or an input that is not one image, pair or
            clip.
    """
    import keras

    from fer_keras.models.layers import class_names_of

    where = path or Path(str(network.name))
    outputs = network.output
    if not isinstance(outputs, dict) or "logits" not in outputs:
        raise ModelFileError(f"Expected a network with a dict of outputs with 'logits': {where}")
    shapes = [tuple(tensor.shape) for tensor in network.inputs]
    if len(shapes) != 1 or len(shapes[0]) not in (4, 5):
        raise ModelFileError(
            "Expected a network with one input (batch, height, width, channels), or (batch, 2, "
            "height, width, channels) for pairs, (batch, frames, height, width, channels) for "
            f"clips. Received: {shapes}: {where}"
        )
    height, width, channels = shapes[0][-3:]
    if None in (height, width, channels):
        raise ModelFileError(
            f"Expected a fixed image size. Received: {network.inputs[0].shape}: {where}"
        )
    try:
        names = tuple(class_names_of(network))
    except FerKerasError as error:
        raise ModelFileError(f"{error}: {where}") from error
    if len(names) != outputs["logits"].shape[-1]:
        raise ModelFileError(
            f"The network names {len(names)} classes but has {outputs['logits'].shape[-1]} "
            f"outputs: {where}"
        )
    # The other outputs (feature maps) are left out: they can be far larger than the logits.
    scorer = keras.Model(network.inputs[0], outputs["logits"])

    def run(images: Images) -> Scores:
        scores = scorer.predict_on_batch(images.astype(np.float32))
        return np.asarray(scores, np.float32)

    num_pictures = int(shapes[0][1]) if len(shapes[0]) == 5 else 1
    kind = input_kind_of(num_pictures)
    return LoadedModel(
        where,
        "keras",
        names,
        (int(height), int(width), int(channels)),
        sha256,
        temperature,
        {},
        run,
        input_kind=kind,
        num_pictures=num_pictures,
        _run_frames=_frame_scorer(network) if kind == "clip" else None,
    )


def _frame_scorer(network: Any) -> Callable[[Images], Scores]:
    import keras

    scorer = keras.Model(network.inputs[0], network.output["frame_logits"])

    def run(clips: Images) -> Scores:
        return np.asarray(scorer.predict_on_batch(clips.astype(np.float32)), np.float32)

    return run


def input_kind_of(num_pictures: int) -> str:
    """What an input of so many pictures is: `"image"`, `"pair"` or `"clip"`."""
    return {1: "image", 2: "pair"}.get(num_pictures, "clip")


def load_network(path: str | Path) -> tuple[Any, str]:
    """Reads the Keras network of a `.keras` file, for further training or export.

    Args:
        path: The file.

    Returns:
        The functional model and the sha256 of the file.

    Raises:
        ModelFileError: Missing, too large, damaged, or holding anything but Keras' own layers and
            the layers of this package.
    """
    where = Path(path)
    data = read_bounded(where, MAX_MODEL_BYTES)
    check_archive(data, where)
    import keras

    # Keras opens files by name only. What it opens is a private copy of the bytes that were
    # checked, so that nobody can exchange the file in between.
    with tempfile.TemporaryDirectory(prefix="fer_keras-") as folder:
        copy = Path(folder) / "model.keras"
        copy.write_bytes(data)
        try:
            network = keras.saving.load_model(copy, compile=False, safe_mode=True)
        except FerKerasError:
            raise
        except Exception as error:
            # A damaged or hostile file can fail anywhere inside Keras or HDF5.
            raise ModelFileError(
                f"Keras cannot read this file ({first_line(error)}): {where}"
            ) from (error)
    return network, hashlib.sha256(data).hexdigest()


def save_network(
    network: Any, path: str | Path, *, error: type[FerKerasError] = TrainingError
) -> None:
    """Writes a network to a `.keras` file: either wholly or not at all.

    Args:
        network: A functional Keras model.
        path: Ends in `.keras`; an existing file stays intact until the new one is on the disk.
        error: The class of what is raised.

    Raises:
        FerKerasError: Of class `error`: a weight is not finite, the disk is full, the folder
            cannot be written to.
    """
    where = Path(path)
    if where.suffix != ".keras":
        raise error(f"A network is saved as .keras. Received: {where}")
    import keras

    for variable in network.variables:
        # TensorFlow keeps a variable of several devices in parts; a copy is one array.
        values = np.asarray(keras.ops.convert_to_numpy(keras.ops.copy(variable.value)))
        # bfloat16 is no kind of float for NumPy itself.
        if values.dtype.kind == "V":
            values = values.astype(np.float32)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise error(
                f"Not saved: weight {variable.path} holds NaN or infinity. "
                f"The earlier file, if any, is unchanged: {where}"
            )
    try:
        with atomic_path(where) as temporary:
            network.save(temporary, overwrite=True)
    # HDF5 reports a full disk as a RuntimeError.
    except (OSError, RuntimeError) as reason:
        cause = reason.strerror if isinstance(reason, OSError) else None
        raise error(
            f"The network could not be written ({cause or first_line(reason)}). What was there "
            f"before is unchanged: {where}"
        ) from reason


def load_tflite_bytes(
    data: bytes, where: Path, *, threads: int = 1
) -> tuple[Callable[[Images], Scores], tuple[int, ...], str]:
    """Opens a TFLite graph after checking that it holds built-in operators only.

    Args:
        data: The file.
        where: Named in messages.
        threads: Processor threads.

    Returns:
        A function from one image `(1, h, w, c)`, or one pair `(1, 2, h, w, c)`, to scores
        `(1, classes)`, the input shape, and the input type (`"float32"` or `"uint8"`).

    Raises:
        ModelFileError: Damaged, custom operators, or other inputs or outputs than one each.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        # The constructor verifies the structure of the file and runs nothing.
        interpreter = Interpreter(model_content=data, num_threads=threads)
        check_tflite_operators(data, where)
        check_tensor_sizes(interpreter, where)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelFileError(f"Not a usable TFLite file ({first_line(error)}): {where}") from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    dtype = np.dtype(inputs[0]["dtype"]).name if len(inputs) == 1 else ""
    shape = tuple(int(side) for side in inputs[0]["shape"]) if len(inputs) == 1 else ()
    is_picture = shape[:1] == (1,) and (len(shape) == 4 or (len(shape) == 5 and shape[1] == 2))
    if not is_picture or dtype not in _TFLITE_INPUTS or len(outputs) != 1:
        raise ModelFileError(
            "Expected one input (1, height, width, channels), or (1, 2, height, width, channels) "
            "for pairs, of float32 or uint8 and one output. "
            f"Received: {len(inputs)} inputs, the first {dtype} {shape}, {len(outputs)} outputs: "
            f"{where}"
        )
    if outputs[0]["dtype"] != np.float32 or len(outputs[0]["shape"]) != 2:
        raise ModelFileError(
            f"Expected a float32 output (1, classes). Received: "
            f"{np.dtype(outputs[0]['dtype']).name} {tuple(outputs[0]['shape'])}: {where}"
        )

    def run(images: Images) -> Scores:
        interpreter.set_tensor(inputs[0]["index"], images.astype(_TFLITE_INPUTS[dtype]))
        interpreter.invoke()
        return np.array(interpreter.get_tensor(outputs[0]["index"]), np.float32)

    return run, shape, dtype


def _load_run(folder: Path) -> LoadedModel:
    network, sha256 = load_network(folder / "best.keras")
    temperature = 1.0
    calibration = folder / "calibration.json"
    if calibration.is_file():
        record = read_json(calibration)
        # A run that was trained on has a new best.keras; a temperature fitted to the old one is
        # not used for it.
        if record.get("model_sha256") == sha256:
            temperature = _temperature(record, calibration)
    return from_network(network, path=folder, sha256=sha256, temperature=temperature)


def _load_tflite(path: Path, precision: str | None, threads: int) -> LoadedModel:
    from fer_keras.runtime.model_files import read_model_files

    files = read_model_files(path, precision)
    if files.input_kind == "clip":
        return _load_clip_files(files, threads)
    run, shape, _ = load_tflite_bytes(files.content, files.path, threads=threads)
    image_shape = (shape[-3], shape[-2], shape[-1])
    input_kind = "pair" if len(shape) == 5 else "image"
    if files.input_kind not in (None, input_kind):
        raise ModelFileError(
            f"manifest.json says input_kind {files.input_kind}, but the model takes {shape}: "
            f"{files.path}"
        )
    if files.image_size is not None and image_shape != (*files.image_size, files.channels):
        raise ModelFileError(
            f"manifest.json says image_size {list(files.image_size)}, channels {files.channels}, "
            f"but the model takes {image_shape}: {files.path}"
        )
    probe = run(np.zeros(shape, np.uint8))
    if probe.shape != (1, len(files.class_names)):
        raise ModelFileError(
            f"The model has {probe.shape[-1]} outputs but {len(files.class_names)} class names "
            f"({', '.join(files.class_names)}): {files.path}"
        )
    manifest = files.manifest
    temperature = _temperature(manifest, files.path) if "temperature" in manifest else 1.0
    sha256 = hashlib.sha256(files.content).hexdigest()
    return LoadedModel(
        files.path, "tflite", files.class_names, image_shape, sha256, temperature, manifest, run, 1,
        input_kind, 2 if input_kind == "pair" else 1,
    )  # fmt: skip


def _load_clip_files(files: "ModelFiles", threads: int) -> LoadedModel:
    """Encoder and head of a clip model, one clip a call."""
    from fer_keras.runtime.clips import ClipNetwork

    for content in (files.content, files.head):
        check_tflite_operators(content, files.path)
    network = ClipNetwork(files, threads)

    def read(clips: Images) -> tuple[Scores, Scores]:
        real = clips[0].any(axis=(1, 2, 3))
        return network.read([network.encode(frame) for frame in clips[0][real]])

    def run(clips: Images) -> Scores:
        return read(clips)[0][np.newaxis]

    def run_frames(clips: Images) -> Scores:
        scores = np.zeros((1, network.num_frames, len(files.class_names)), np.float32)
        frames = read(clips)[1]
        scores[0, : len(frames)] = frames
        return scores

    return LoadedModel(
        files.path,
        "tflite",
        files.class_names,
        (*network.image_size, network.channels),
        hashlib.sha256(files.content + files.head).hexdigest(),
        _temperature(files.manifest, files.path),
        files.manifest,
        run,
        1,
        "clip",
        network.num_frames,
        run_frames,
    )


def _temperature(record: Mapping[str, Any], where: Path) -> float:
    value = record.get("temperature")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1000:
        raise ModelFileError(f"Expected a positive temperature. Received: {value!r}: {where}")
    return float(value)
