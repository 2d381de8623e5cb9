"""The network of `ferplus_tiny`, taught by `ferplus_teacher`.

Source: ours; distillation by Hinton et al. 2015. The teacher is the newest finished run of
`ferplus_teacher` with the same seed in `runs`, and is trained first where there is none. Its
forward pass costs far more than the student's own step.
Command: python -m fer_keras.train --exp ferplus_tiny_distilled --backend jax
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
    augmentation="standard",
    network=NetworkConfig("compact", {"stem_filters": 24, "widths": [40, 72, 96], "dropout": 0.1}),
    method=MethodConfig("distillation", {"teacher": "ferplus_teacher"}),
    training=TrainingConfig(
        epochs=120,
        batch_size=256,
        learning_rate=0.005,
        precision="mixed_bfloat16",
        weight_decay=0.05,
    ),
)
