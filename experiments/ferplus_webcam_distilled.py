"""`ferplus_camera_distilled`, trained on with harder pictures and the same teacher.

Source: ours, as `ferplus_webcam`, whose second stage this is with a teacher beside the votes. A
quarter of the first stage's weights stays in the mean (Wortsman et al., CVPR 2022).
Command: python -m fer_keras.train --exp ferplus_webcam_distilled --backend jax
"""

from fer_keras.config import MethodConfig, based_on

experiment = based_on(
    "ferplus_webcam",
    name="ferplus_webcam_distilled",
    network={"weights": "ferplus_camera_distilled"},
    method=MethodConfig("distillation", {"teacher": "ferplus_teacher"}),
    training={"epochs": 40, "batch_size": 256, "learning_rate": 0.002},
)
