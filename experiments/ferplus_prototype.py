"""FER+ by a latent point for each class, and a decoder that draws the face from its own point.

Source: a project write-up's encoder and decoder with one latent point for each class; classifier of
Snell et al. 2017 (NeurIPS) with learned points. The decoder is only trained with, not exported.
bfloat16 needs a CPU with avx512_bf16; without it set training.precision=float32.
Command: python -m fer_keras.train --exp ferplus_prototype
"""

from fer_keras.config import DatasetConfig, Experiment, MethodConfig, TrainingConfig

experiment = Experiment(
    name="ferplus_prototype",
    dataset=DatasetConfig(name="ferplus", label_rule="majority", without_duplicates=True),
    augmentation="standard",
    method=MethodConfig("prototype", {"dimensions": 32, "reconstruction": 2.0}),
    training=TrainingConfig(epochs=30, precision="mixed_bfloat16"),
)
