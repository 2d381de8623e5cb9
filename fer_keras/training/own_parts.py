"""Networks, methods and data sets of a user's own files in a run.

They are checked before any data are prepared, and copied into the run folder, so that it says what
the run was. A run that goes on needs the files as they were.
"""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from fer_keras.common.constraints import option_hints
from fer_keras.common.errors import ConfigError, did_you_mean
from fer_keras.common.plugins import is_own_file
from fer_keras.config import Experiment, MethodConfig, NetworkConfig
from fer_keras.training.as_weights import AS_WEIGHTS

_CLASSES_TRIED = 8


def with_full_paths(experiment: Experiment) -> Experiment:
    """The experiment with full paths of the user's own files, so that it runs from any folder.

    Args:
        experiment: Whose network, method and data set may be paths of `.py` files.
    """

    def full(name: str) -> str:
        return str(Path(name).expanduser().resolve()) if is_own_file(name) else name

    return replace(
        experiment,
        dataset=replace(experiment.dataset, name=full(experiment.dataset.name)),
        network=replace(experiment.network, name=full(experiment.network.name)),
        method=replace(experiment.method, name=full(experiment.method.name)),
    )


def check_parts(experiment: Experiment) -> None:
    """Finds network and method, and refuses unknown options, before any data are prepared.

    A network of the user's own is built once, since only layers that a saved file may hold can be
    loaded after the training.

    Args:
        experiment: What will run.

    Raises:
        ConfigError: An unknown name or option, a file that cannot be used, or a network without
            the output `logits`.
        ModelFileError: A layer that no `.keras` file of this package may hold.
    """
    from fer_keras.methods import method_module
    from fer_keras.models import build_network, network_module

    found: list[tuple[str, MethodConfig | NetworkConfig, ModuleType]] = [
        ("Method", experiment.method, method_module(experiment.method.name))
    ]
    network = experiment.network
    if network.name != AS_WEIGHTS:
        found.append(("Network", network, network_module(network.name)))
    for kind, part, module in found:
        known = option_hints(module.build)
        for option in part.options:
            if option not in known:
                hint = did_you_mean(option, known) if known else "It takes no options."
                raise ConfigError(f"{kind} {part.name!r} has no option {option!r}. {hint}")
    if not is_own_file(network.name):
        return
    import keras

    from fer_keras.loading.checks import check_config

    size, channels = experiment.dataset.image_size, experiment.dataset.channels
    frames = experiment.dataset.clip_frames or 2 * (experiment.dataset.neutral != "none")
    shape = (*([frames] if frames else []), size, size, channels)
    built = build_network(network.name, shape, _CLASSES_TRIED, **network.options)
    outputs = getattr(built, "output", None)
    logits = outputs.get("logits") if isinstance(outputs, dict) else None
    if logits is None or tuple(logits.shape) != (None, _CLASSES_TRIED):
        received = sorted(outputs) if isinstance(outputs, dict) else type(built).__name__
        raise ConfigError(
            "network: expected a functional keras.Model whose outputs are a dict with `logits` "
            f"(batch, {_CLASSES_TRIED}). Received: {received}: {network.name}"
        )
    check_config(keras.saving.serialize_keras_object(built), Path(network.name))


def keep_own_files(run_dir: Path, experiment: Experiment) -> None:
    """Copies the user's own files into the run folder, as `own_network.py` and so on.

    Args:
        run_dir: The folder.
        experiment: What runs in it.

    Raises:
        ConfigError: A run goes on, and a file is another one than when it began.
    """
    for copy, path in _own_files(experiment).items():
        kept = run_dir / copy
        if kept.is_file() and kept.read_bytes() != path.read_bytes():
            raise ConfigError(
                "The run began with another version of a file of your own. Mend: copy "
                f"{kept} to {path}, or begin a new run in another --run-dir."
            )
        shutil.copyfile(path, kept)


def file_digests(run_dir: Path, experiment: Experiment) -> dict[str, str]:
    """The sha256 of each of the user's own files in a run folder, by name.

    Args:
        run_dir: The folder.
        experiment: What ran in it.
    """
    return {
        copy: hashlib.sha256((run_dir / copy).read_bytes()).hexdigest()
        for copy in _own_files(experiment)
        if (run_dir / copy).is_file()
    }


def _own_files(experiment: Experiment) -> dict[str, Path]:
    """Name of the copy -> the file."""
    parts = {
        "dataset": experiment.dataset.name,
        "network": experiment.network.name,
        "method": experiment.method.name,
    }
    return {f"own_{part}.py": Path(name) for part, name in parts.items() if is_own_file(name)}
