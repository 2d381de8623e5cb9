"""Says which package is missing, and the command that brings it, before any work starts.

The base install is the runtime alone. What trains, evaluates or converts comes with extras, and a
command that finds one missing half-way has cost its user the time until then.
"""

import importlib.util
import os

from fer_keras.common.errors import ConfigError

# What every command of training and evaluation uses; all of it comes with the extra `train`.
TRAINING = ("keras", "tensorflow", "tensorflow_datasets", "sklearn", "scipy", "matplotlib")

BACKENDS = ("tensorflow", "jax", "torch")

# Import name -> the extra of this package that brings it.
_EXTRAS: dict[str, str] = {
    **dict.fromkeys(TRAINING, "train"),
    "gensim": "train",
    "keras_cv": "train",
    "mlflow": "train",
    "optuna": "train",
    "jax": "jax",
    "torch": "torch",
    "paho": "mqtt",
    "huggingface_hub": "hub",
    **dict.fromkeys(
        (
            "fastapi",
            "fastapi_offline",
            "uvicorn",
            "websockets",
            "python_multipart",
            "prometheus_client",
        ),
        "serve",
    ),
}
_TITLES = {"jax": "JAX", "torch": "PyTorch", "sklearn": "scikit-learn", "paho": "paho-mqtt"}


def is_installed(package: str) -> bool:
    """Whether a package can be imported; it is not imported.

    Args:
        package: The name that `import` takes, without dots.
    """
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # Imported by other means than a file: there is no more to find.
        return True


def require(purpose: str, *packages: str) -> None:
    """Refuses to go on without some packages.

    Args:
        purpose: What needs them, the beginning of the message: `python -m fer_keras.train`.
        *packages: Import names, each one of an extra of this package.

    Raises:
        ConfigError: One is missing; the message has the command that brings all that are.
    """
    missing = [package for package in packages if not is_installed(package)]
    if not missing:
        return
    names = ", ".join(_TITLES.get(package, package) for package in missing)
    extras = ",".join(dict.fromkeys(_EXTRAS[package] for package in missing))
    raise ConfigError(
        f"{purpose} needs {names}, not installed here. "
        f"Install with: pip install 'fer_keras[{extras}]'"
    )


def require_keras(purpose: str, *packages: str) -> None:
    """As `require`, for what runs Keras: also asks for its backend, `KERAS_BACKEND`.

    Args:
        purpose: What needs it, the beginning of the message.
        *packages: Import names of what else is needed.

    Raises:
        ConfigError: Keras, its backend or one of the packages is missing, or the variable names
            no backend.
    """
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend not in BACKENDS:
        raise ConfigError(
            f"KERAS_BACKEND: expected {', '.join(BACKENDS)}. Received: {backend!r}. "
            "Mend the variable, or unset it."
        )
    if backend != "tensorflow":
        purpose = f"{purpose} with the backend {backend}"
    require(purpose, *dict.fromkeys(("keras", *packages, backend)))
