"""Studies: what a trained model can and cannot do. One study, one file or folder, found by name.

A study file has a docstring (its first line is shown by `--list`, the whole of it by `--help`) and

- `add_arguments(parser: argparse.ArgumentParser) -> None`, which adds its options, and
- `run(arguments: argparse.Namespace) -> str`, which does the study, writes its files and returns
  what the terminal shows. What cannot be done is raised as a `FerKerasError`.

A new file or folder here is a new study, nothing else has to be touched; one without `run` is
none. Heavy imports (TensorFlow, matplotlib) go inside functions, so that `--list` and `--help`
answer at once. What studies share is in the folder `shared`.
"""

from pathlib import Path
from types import ModuleType

from fer_keras.common.plugins import find_plugins, first_line, load_plugin

__all__ = ["list_studies", "study_module"]


def list_studies() -> dict[str, str]:
    """The names of all studies, sorted, and the first line of their docstrings."""
    found = find_plugins(Path(__file__).parent, "run")
    return {name: first_line(path) for name, path in found.items()}


def study_module(name: str) -> ModuleType:
    """Finds a study.

    Args:
        name: One of `list_studies()`, or the path of a `.py` file of one's own.

    Returns:
        Its module, with `add_arguments` and `run`.

    Raises:
        ConfigError: There is no study of this name.
    """
    return load_plugin(name, __name__, Path(__file__).parent, "run", "study")
