"""FER+ by relative uncertainty: faces are mixed in pairs, and every face gets an uncertainty.

Source: Zhang et al. 2021 (NeurIPS), RUL. The network's output `uncertainty` says how hard a face
is, compared with others. bfloat16 needs a CPU with avx512_bf16; without it set
training.precision=float32.
Command: python -m fer_keras.train --exp ferplus_rul
"""

from fer_keras.config import DatasetConfig, Experiment, MethodConfig, TrainingConfig

experiment = Experiment(
    name="ferplus_rul",
    dataset=DatasetConfig(name="ferplus", label_rule="majority", without_duplicates=True),
    augmentation="standard",
    method=MethodConfig("relative_uncertainty", {"dimensions": 64, "dropout": 0.4}),
    training=TrainingConfig(epochs=30, precision="mixed_bfloat16"),
)
