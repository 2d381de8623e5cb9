"""FER+ by erasing attention consistency: a picture and its mirror image look at the same places.

Source: Zhang et al. 2022 (ECCV), EAC; they reach 0.8964 on FER+ with a ResNet-50 that was trained
on faces before, at 224 pixels, the epoch chosen on test. A step costs two of cross-entropy.
bfloat16 needs a CPU with avx512_bf16; without it set training.precision=float32.
Command: python -m fer_keras.train --exp ferplus_eac
"""

from fer_keras.config import DatasetConfig, Experiment, MethodConfig, TrainingConfig

experiment = Experiment(
    name="ferplus_eac",
    dataset=DatasetConfig(name="ferplus", label_rule="majority", without_duplicates=True),
    augmentation="standard",
    method=MethodConfig("attention_consistency", {"weight": 5.0, "erasing": "mirrored"}),
    training=TrainingConfig(epochs=20, precision="mixed_bfloat16"),
)
