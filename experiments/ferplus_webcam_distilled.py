"""`ferplus_camera_distilled`, trained on with harder pictures and the same teacher.

Source: ours, as `ferplus_webcam`, whose second stage this is with a teacher beside the votes. A
quarter of the first stage's weights stays in the mean (Wortsman et al., CVPR 2022).
Command: python -m fer_keras.train --exp ferplus_webcam_distilled --backend jax
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="ferplus_webcam_distilled",
    dataset=DatasetConfig(name="ferplus", label_rule="crossentropy", without_duplicates=True),
    augmentation="camera_hard",
    network=NetworkConfig(
        "compact",
        {"first_stride": 1, "widths": [48, 96, 160, 256], "depths": [1, 2, 2, 1]},
        weights="ferplus_camera_distilled",
        keep_start=0.25,
    ),
    method=MethodConfig("distillation", {"teacher": "ferplus_teacher"}),
    training=TrainingConfig(
        epochs=40, batch_size=256, learning_rate=0.002, precision="mixed_bfloat16"
    ),
)
