"""Studies: what a trained model can and cannot do. One study, one file, found by name.

A study file has a docstring (its first line is shown by `--list`, the whole of it by `--help`) and

- `add_arguments(parser: argparse.ArgumentParser) -> None`, which adds its options, and
- `run(arguments: argparse.Namespace) -> str`, which does the study, writes its files and returns
  what the terminal shows. What cannot be done is raised as a `FerKerasError`.

A new file in this folder is a new study, nothing else has to be touched; a file without `run` is
none. Heavy imports (TensorFlow, matplotlib) go inside functions, so that `--list` and `--help`
answer at once. What studies share is in `base.py` (models, data) and
`results.py` (folder, tables, MLflow).
"""

import importlib
import pkgutil
from types import ModuleType

from fer_keras.errors import ConfigError, did_you_mean

__all__ = ["list_studies", "study_module"]


def list_studies() -> dict[str, str]:
    """The names of all studies, sorted, and the first line of their docstrings."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {
        name: (module.__doc__ or "").strip().split("\n")[0]
        for name, module in modules.items()
        if hasattr(module, "run")
    }


def study_module(name: str) -> ModuleType:
    """Finds a study.

    Args:
        name: One of `list_studies()`.

    Returns:
        Its module, with `add_arguments` and `run`.

    Raises:
        ConfigError: There is no study of this name.
    """
    known = list_studies()
    if name not in known:
        raise ConfigError(f"Unknown study {name!r}. {did_you_mean(name, known)}")
    return importlib.import_module(f"{__name__}.{name}")
