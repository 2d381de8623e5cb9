"""FER+ by the label and by what the nearest faces are taken for.

Source: Chen et al. 2020 (CVPR), LDL-ALSG, in a form that needs no action units: near are faces by
the embedding of the newest finished run of `ferplus_tiny` with the same seed in `runs`, which is
trained first where there is none. bfloat16 needs a CPU with avx512_bf16; without it set
training.precision=float32.
Command: python -m fer_keras.train --exp ferplus_neighbours
"""

from fer_keras.config import DatasetConfig, Experiment, MethodConfig, TrainingConfig

experiment = Experiment(
    name="ferplus_neighbours",
    dataset=DatasetConfig(name="ferplus", label_rule="majority", without_duplicates=True),
    augmentation="standard",
    method=MethodConfig("neighbour_distribution", {"auxiliary": "ferplus_tiny"}),
    training=TrainingConfig(epochs=30, precision="mixed_bfloat16"),
)
