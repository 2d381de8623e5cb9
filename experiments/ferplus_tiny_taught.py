"""The network of `ferplus_tiny`, taught by the three teachers of `ferplus_student`.

Source: ours; the teachers are asked once (Shen and Xing 2022, `multi_teacher`).
Command: python -m fer_keras.train --exp ferplus_tiny_taught
Cost: 60 epochs, 44 minutes on two CPU cores that other work shared, 12 for the teachers.
Result: 0.8356, balanced 0.5957, on PublicTest = validation, majority label (n 3,199, seed 0, epoch
46 of 60, chosen on it). Against `ferplus_tiny` it gains under corruptions what it loses on clean
pictures and rare expressions (docs/model-log.md).
"""

from fer_keras.config import MethodConfig, based_on

experiment = based_on(
    "ferplus_tiny",
    name="ferplus_tiny_taught",
    augmentation="camera",
    network={"options": {"dropout": 0.0}},
    method=MethodConfig(
        "multi_teacher",
        {
            "teachers": ["ferplus_webcam", "ferplus_face_features", "fer2013"],
            "teacher_weights": [1.0, 0.7, 0.2],
            "views": 4,
        },
    ),
    training={"epochs": 60, "ema_momentum": 0.999},
)
