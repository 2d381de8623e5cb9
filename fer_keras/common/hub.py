"""Models on the Hugging Face Hub: `hf://OWNER/NAME` where a folder could stand.

Only what an export consists of is fetched: no `.keras` file, no SavedModel, no program. It lies in
the library's own cache; what is fetched is then checked as any export folder is, by its sha256.
"""

import re
from os import PathLike
from pathlib import Path

from fer_keras.common.errors import ModelFileError
from fer_keras.common.installed import require

PREFIX = "hf://"
_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_FILES = ("manifest.json", "labels.txt", "*.tflite", "card.md", "README.md")


def local_model(model: str | PathLike[str]) -> Path:
    """Where a model lies on this machine; one from the Hub is fetched first.

    Args:
        model: A path, or `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION`.

    Returns:
        The path; of a model from the Hub, a folder in the cache of huggingface_hub.

    Raises:
        ConfigError: huggingface_hub is not installed.
        ModelFileError: The address is malformed, or the model cannot be fetched.
    """
    if not isinstance(model, str) or not model.startswith(PREFIX):
        return Path(model)
    address = _ADDRESS.fullmatch(model)
    if address is None:
        raise ModelFileError(
            f"model: expected {PREFIX}OWNER/NAME or {PREFIX}OWNER/NAME@REVISION, received {model!r}"
        )
    require(model, "huggingface_hub")
    # Only who asks the Hub waits for its import.
    from huggingface_hub import snapshot_download

    owner_and_name, revision = address.groups()
    try:
        folder = snapshot_download(owner_and_name, revision=revision, allow_patterns=list(_FILES))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelFileError(
            f"the model cannot be fetched ({type(error).__name__}: {reason}). Check the name and "
            f"the network: {model}"
        ) from error
    return Path(folder)
