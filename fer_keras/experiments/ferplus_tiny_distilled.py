"""The network of `ferplus_tiny`, taught by `ferplus_camera`.

Source: ours; distillation by Hinton et al. 2015. The teacher is the newest finished run of
`ferplus_camera` with the same seed in `runs`, and is trained first where there is none. bfloat16
as there: without avx512_bf16 set training.precision=float32. The teacher's forward pass costs more
than the student's own step.
Command: python -m fer_keras.train --exp ferplus_tiny_distilled
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="ferplus_tiny_distilled",
    dataset=DatasetConfig(name="ferplus", label_rule="crossentropy", without_duplicates=True),
    augmentation="camera",
    network=NetworkConfig("compact", {"stem_filters": 24, "widths": [40, 72, 96], "dropout": 0.1}),
    method=MethodConfig("distillation", {"teacher": "ferplus_camera"}),
    training=TrainingConfig(epochs=30, precision="mixed_bfloat16", weight_decay=0.05),
)
