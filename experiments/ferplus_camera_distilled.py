"""The network of `ferplus_camera`, taught by `ferplus_teacher` for a hundred epochs.

Source: ours; distillation by Hinton et al. 2015, long and with the teacher seeing the augmented
pictures (Beyer et al., CVPR 2022). Training pictures whose exact pixels also occur in PublicTest
are left out of both trainings; the teacher is trained first where there is none.
Command: python -m fer_keras.train --exp ferplus_camera_distilled --backend jax
"""

from fer_keras.config import MethodConfig, based_on

experiment = based_on(
    "ferplus_camera",
    name="ferplus_camera_distilled",
    method=MethodConfig("distillation", {"teacher": "ferplus_teacher"}),
    training={"epochs": 100, "batch_size": 256, "learning_rate": 0.005},
)
