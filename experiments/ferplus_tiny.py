"""The small sibling of the model to ship: under 300 kB as int8.

Source: ours; votes by the rule of Barsoum et al. 2016 (ICMI), scheme CEL. Training pictures whose
exact pixels also occur in PublicTest are left out. bfloat16 needs a CPU with avx512_bf16; without
it set training.precision=float32.
Command: python -m fer_keras.train --exp ferplus_tiny
Cost: 40 epochs, 19 minutes on two CPU cores that other work shared.
Result: 0.8440 on PublicTest = validation, majority label (n 3,199, seed 0, epoch chosen on it).
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="ferplus_tiny",
    dataset=DatasetConfig(name="ferplus", label_rule="crossentropy", without_duplicates=True),
    augmentation="standard",
    network=NetworkConfig("compact", {"stem_filters": 24, "widths": [40, 72, 96], "dropout": 0.1}),
    method=MethodConfig("label_distribution", {"scheme": "cross_entropy"}),
    training=TrainingConfig(epochs=40, precision="mixed_bfloat16", weight_decay=0.05),
)
