"""The network of `ferplus_tiny`, taught by `ferplus_teacher`.

Source: ours; distillation by Hinton et al. 2015. The teacher is the newest finished run of
`ferplus_teacher` with the same seed in `runs`, and is trained first where there is none. Its
forward pass costs far more than the student's own step.
Command: python -m fer_keras.train --exp ferplus_tiny_distilled --backend jax
"""

from fer_keras.config import MethodConfig, based_on

experiment = based_on(
    "ferplus_tiny",
    name="ferplus_tiny_distilled",
    method=MethodConfig("distillation", {"teacher": "ferplus_teacher"}),
    training={"epochs": 120, "batch_size": 256, "learning_rate": 0.005},
)
