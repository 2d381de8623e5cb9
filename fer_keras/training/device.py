"""What a run computes on: precision, determinism, XLA, and the line that says so."""

import os
from pathlib import Path

from fer_keras.config import TrainingConfig
from fer_keras.runtime.timing.machine import usable_cores

# What /proc/cpuinfo calls units that multiply bfloat16 numbers.
_BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")


def prepare_backend(training: TrainingConfig, distribution: str = "") -> str:
    """Sets precision and determinism of the process.

    Args:
        training: The recipe.
        distribution: Devices and processes that share the work; empty for one device.

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
    details = [*([distribution] if distribution else []), f"{usable_cores()} CPU cores"]
    if backend == "tensorflow":
        import tensorflow as tf

        if training.deterministic:
            tf.config.experimental.enable_op_determinism()
        threads = tf.config.threading.get_intra_op_parallelism_threads()
        details += [f"{threads} threads"] if threads else []
        details.append(f"oneDNN {'on' if one_dnn_on() else 'off'}")
    elif backend == "torch":
        import torch

        if training.deterministic:
            if use_xla(training.jit_compile):
                torch.use_deterministic_algorithms(True, warn_only=True)
            else:  # The same, but for the compiler, whose import takes seconds.
                torch.set_deterministic_debug_mode("warn")
        details.append(f"{torch.get_num_threads()} threads")
    details += [precision, f"XLA {'on' if use_xla(training.jit_compile) else 'off'}"]
    return f"device {kind}  backend {backend}  {'  '.join(details)}"


def precision_note(training: TrainingConfig) -> str:
    """What to know about a precision that was asked for; empty where there is nothing.

    Args:
        training: The recipe.
    """
    if training.precision != "mixed_float16" or accelerator() != "CPU":
        return ""
    return (
        "note: mixed_float16 is many times slower than float32 on a processor, and the scaling of "
        "the loss skips the first steps. Expected there: training.precision=float32"
    )


def bfloat16_unit(flags: frozenset[str]) -> str:
    """What multiplies bfloat16 numbers in this processor; empty where nothing does.

    Args:
        flags: Of `cpu_flags`.
    """
    return next((unit for unit in _BFLOAT16_FLAGS if unit in flags), "")


def one_dnn_on() -> bool:
    """Whether TensorFlow was told to use oneDNN; what it does untold depends on the processor."""
    return os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "1"


def cpu_flags() -> frozenset[str]:
    """The instruction sets of the processor, none where the system does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    lines = [line for line in text.splitlines() if line.startswith(("flags", "Features"))]
    return frozenset(lines[0].split()) if lines else frozenset()


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
