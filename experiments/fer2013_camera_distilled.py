"""FER2013's own seven labels by the small network: from `ferplus_camera_distilled`, with a teacher.

Source: ours. The votes of FER+ are of the same pictures and less noisy than the labels, so the
network learns from them first; then the labels and the answers of `fer2013_teacher`, which are
less noisy than the labels too. Pictures whose exact pixels also occur in PublicTest are left out
in all four trainings.
Command: python -m fer_keras.train --exp fer2013_camera_distilled --backend jax
"""

from fer_keras.config import MethodConfig, based_on

experiment = based_on(
    "fer2013_camera",
    name="fer2013_camera_distilled",
    network={"weights": "ferplus_camera_distilled"},
    method=MethodConfig("distillation", {"teacher": "fer2013_teacher"}),
    training={"epochs": 50, "batch_size": 256, "learning_rate": 0.003},
)
