"""What a model file may hold, checked before anything in it is interpreted or run.

Sizes before a file is read, members and checksums before an archive is opened, every class that a
configuration names before Keras sees it, every operator before LiteRT runs one.
"""

import importlib
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fer_keras.common.errors import ModelFileError
from fer_keras.common.files import MAX_CONFIG_BYTES, first_line

MAX_MODEL_BYTES = 1 << 30
# What an interpreter may ask for its activations; the largest network here needs about 100 MB.
MAX_TENSOR_BYTES = 2 << 30

_KERAS_MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}

# Keras built-ins that run code or graphs which come with the file.
REFUSED_CLASSES = {
    "Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "__lambda__",
    "__typespec__",
}  # fmt: skip
# How Keras writes plain values: they build nothing.
_VALUE_CLASSES = {
    "__tuple__", "__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__",
    "__slice__",
}  # fmt: skip
_OWN_MODULE = re.compile(r"fer_keras\.(models|methods)\.[a-z][a-z0-9_]*")
_KERAS_MODULE = re.compile(
    r"keras(\.src)?(\.(activations|constraints|dtype_policies|initializers|layers|models|ops|"
    r"quantizers|random|regularizers)[a-z0-9_.]*)?"
)
_TFLITE_CUSTOM_OPERATOR = 32


def checked_archive(data: bytes, where: Path) -> bytes:
    """Refuses a `.keras` archive with anything in it that a network of ours does not need.

    Args:
        data: The file.
        where: Named in messages.

    Returns:
        The archive for Keras to open: `data`, or where the network or a part of it was compiled, a
        copy without its optimizer, losses and metrics. They are never used, and Keras would build
        those of a part even with `compile=False`.

    Raises:
        ModelFileError: It is damaged, too large, or names what could run code.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            names = [info.filename for info in infos]
            if sorted(names) != sorted(_KERAS_MEMBERS):
                raise ModelFileError(
                    f"Expected exactly {', '.join(sorted(_KERAS_MEMBERS))} in the archive. "
                    f"Received: {', '.join(repr(name[:80]) for name in names[:8])}: {where}"
                )
            for info in infos:
                limit = MAX_MODEL_BYTES if info.filename.endswith(".h5") else MAX_CONFIG_BYTES
                if info.file_size > limit:
                    raise ModelFileError(
                        f"{info.filename} unpacks to {info.file_size} bytes; at most {limit} are "
                        f"read: {where}"
                    )
                # Keras stores its members without compression; the factor leaves room for a
                # repacked archive and none for a bomb.
                if info.file_size > (1 << 20) and info.file_size > 100 * info.compress_size:
                    raise ModelFileError(
                        f"{info.filename} unpacks to {info.file_size} bytes from "
                        f"{info.compress_size}: refused as an archive bomb: {where}"
                    )
            # Reads every member, so a wrong checksum or a lying size shows here.
            damaged = archive.testzip()
            if damaged is not None:
                raise ModelFileError(f"{damaged} is damaged (wrong checksum): {where}")
            config = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise ModelFileError(
            f"Not a readable .keras archive, perhaps cut short ({first_line(error)}): {where}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"config.json is not valid JSON: {where}") from error
    was_compiled = _drop_compile_configs(config)
    for module in sorted(check_config(config, where)):
        try:
            # Registers the layers this file names; only modules of this package pass the check.
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not str(error.name).startswith("fer_keras"):
                raise  # The module is there, a package that it uses is not.
            raise ModelFileError(
                f"The file needs {module}, which this version does not have: {where}"
            ) from error

    return _with_config(data, config) if was_compiled else data


def _drop_compile_configs(config: Any) -> bool:
    """Removes what `compile` was called with from a network and its parts; whether there was."""
    dropped = False
    stack = [config]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if "class_name" in node:
                dropped |= node.pop("compile_config", None) is not None
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return dropped


def _with_config(data: bytes, config: Any) -> bytes:
    """The archive with another `config.json`."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(changed, "w") as target:
        for name in sorted(_KERAS_MEMBERS):
            is_config = name == "config.json"
            target.writestr(name, json.dumps(config) if is_config else source.read(name))
    return changed.getvalue()


def check_config(config: Any, where: Path, legacy_names: frozenset[str] = frozenset()) -> set[str]:
    """Walks a network's configuration and refuses whatever could run code.

    Args:
        config: What the file holds, decoded from JSON.
        where: Named in messages.
        legacy_names: Classes that may stand there without a module, as before Keras 3.

    Returns:
        The modules of this package that it names.

    Raises:
        ModelFileError: It names anything but Keras' own layers and the layers of this package.
    """
    modules: set[str] = set()
    stack = [config]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        if not isinstance(node, dict):
            continue
        stack.extend(node.values())
        name = node.get("class_name")
        if name is None:
            continue
        module, registered = node.get("module"), node.get("registered_name")
        described = f"{module}.{name}" if module else repr(registered or name)
        if not isinstance(name, str) or name in REFUSED_CLASSES:
            raise ModelFileError(f"Refused, because it can run code: {described}: {where}")
        if name in _VALUE_CLASSES or (module is None and name in legacy_names):
            continue
        if isinstance(registered, str) and registered.startswith("fer_keras>"):
            if module is not None and not _OWN_MODULE.fullmatch(str(module)):
                raise ModelFileError(f"The file names {described}: refused: {where}")
            modules.add(str(module) if module is not None else "fer_keras.models.layers")
        elif name == "function":
            if module not in ("builtins", "keras.activations", "keras.ops", "keras.initializers"):
                raise ModelFileError(f"The file names a function of {module}: refused: {where}")
        elif not _KERAS_MODULE.fullmatch(str(module)):
            raise ModelFileError(
                f"The file holds {described}; only Keras' own layers and those of fer_keras are "
                f"loaded: {where}"
            )
    return modules


def check_tflite_operators(data: bytes, where: Path) -> None:
    # It takes a quarter of a second to import.
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(data, 0)
    for i in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(i)
        if code.BuiltinCode() == _TFLITE_CUSTOM_OPERATOR or code.CustomCode():
            name = (code.CustomCode() or b"unnamed").decode("utf-8", "replace")
            raise ModelFileError(
                f"The file needs the custom operator {name[:60]!r}; only built-in operators are "
                f"run: {where}"
            )


def check_tensor_sizes(interpreter: Any, where: Path) -> None:
    total = 0
    for tensor in interpreter.get_tensor_details():
        sides = [abs(int(side)) for side in tensor["shape"]]
        width = 4 if tensor["dtype"] in (bytes, str) else np.dtype(tensor["dtype"]).itemsize
        count = 1
        for side in sides:
            count *= side
        total += count * width
    if total > MAX_TENSOR_BYTES:
        raise ModelFileError(
            f"The graph asks for {total} bytes of tensors; at most {MAX_TENSOR_BYTES} are given: "
            f"{where}"
        )
