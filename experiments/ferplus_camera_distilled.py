"""The network of `ferplus_camera`, taught by `ferplus_teacher` for a hundred epochs.

Source: ours; distillation by Hinton et al. 2015, long and with the teacher seeing the augmented
pictures (Beyer et al., CVPR 2022). Training pictures whose exact pixels also occur in PublicTest
are left out of both trainings; the teacher is trained first where there is none.
Command: python -m fer_keras.train --exp ferplus_camera_distilled --backend jax
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="ferplus_camera_distilled",
    dataset=DatasetConfig(name="ferplus", label_rule="crossentropy", without_duplicates=True),
    augmentation="camera",
    network=NetworkConfig(
        "compact",
        {"first_stride": 1, "widths": [48, 96, 160, 256], "depths": [1, 2, 2, 1]},
    ),
    method=MethodConfig("distillation", {"teacher": "ferplus_teacher"}),
    training=TrainingConfig(
        epochs=100, batch_size=256, learning_rate=0.005, precision="mixed_bfloat16"
    ),
)
