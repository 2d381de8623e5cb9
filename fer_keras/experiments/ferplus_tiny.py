"""The small sibling of the model to ship: under 300 kB as int8, taught by `ferplus_camera`.

Source: ours; distillation by Hinton et al. 2015. The teacher is the newest finished run of
`ferplus_camera` with the same seed in `runs`, and is trained first where there is none. bfloat16
as there: without avx512_bf16 set training.precision=float32.
Command: python -m fer_keras.train --exp ferplus_tiny
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
    augmentation="camera",
    network=NetworkConfig("compact", {"stem_filters": 24, "widths": [40, 72, 96], "dropout": 0.1}),
    method=MethodConfig("distillation", {"teacher": "ferplus_camera"}),
    training=TrainingConfig(epochs=30, precision="mixed_bfloat16", weight_decay=0.05),
)
