"""What a run computes on: precision, determinism, XLA, and the line that says so."""

import os

from fer_keras.config import TrainingConfig


def prepare_backend(training: TrainingConfig) -> str:
    """Sets precision and determinism of the process.

    Args:
        training: The recipe.

    Returns:
        One line that names device, backend, precision and the fast paths in use.
    """
    import keras

    backend, kind = keras.backend.backend(), accelerator()
    precision: str = training.precision
    if precision == "auto":
        by_device = {"GPU": "mixed_float16", "TPU": "mixed_bfloat16"}
        precision = by_device.get(kind, "float32")
    keras.config.set_dtype_policy(precision)
    details = [f"{os.cpu_count()} CPU cores", precision]
    if backend == "tensorflow":
        import tensorflow as tf

        if training.deterministic:
            tf.config.experimental.enable_op_determinism()
        one_dnn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default")
        details.append(f"oneDNN {'on' if one_dnn == '1' else one_dnn}")
    elif backend == "torch" and training.deterministic:
        import torch

        torch.use_deterministic_algorithms(True, warn_only=True)
    details.append(f"XLA {'on' if use_xla(training.jit_compile) else 'off'}")
    return f"device {kind}  backend {backend}  {'  '.join(details)}"


def accelerator() -> str:
    """`TPU`, `GPU` or `CPU`, whichever the backend would use first."""
    import keras

    if keras.backend.backend() == "torch":  # keras.distribution knows no devices there
        import torch

        return "GPU" if torch.cuda.is_available() else "CPU"
    kinds = {device.split(":")[0].upper() for device in keras.distribution.list_devices()}
    return "TPU" if "TPU" in kinds else "GPU" if kinds & {"GPU", "CUDA"} else "CPU"


def use_xla(setting: str) -> bool:
    """Whether to compile with XLA.

    Args:
        setting: `on`, `off`, or `auto`: always on JAX, on a GPU or TPU with TensorFlow, else not,
            since XLA is several times slower on a CPU.
    """
    import keras

    if setting != "auto":
        return setting == "on"
    backend = keras.backend.backend()
    return backend == "jax" or (backend == "tensorflow" and accelerator() != "CPU")
