"""`ferplus_tiny`, trained on with FER2013's own labels beside the votes and three larger teachers.

Source: ours, as `ferplus_student_labels`: `ferplus_student_webcam`, which has learned both labels,
`ferplus_student` and `ferplus_webcam` see the clean picture, and the pictures are mild. Training
pictures whose exact pixels also occur in PublicTest are left out.
Command: python -m fer_keras.train --exp ferplus_tiny_labels
Cost: 30 epochs, 33 minutes on one of two CPU cores, after those of its start and its teachers.
Result: 0.8553, balanced 0.6396, on PublicTest = validation, majority label (n 3,199, seed 0, epoch
18 of 30, chosen on it); `ferplus_tiny` has 0.8440 and 0.6343.
"""

from fer_keras.config import MethodConfig, based_on

experiment = based_on(
    "ferplus_tiny",
    name="ferplus_tiny_labels",
    network={"weights": "ferplus_tiny", "options": {"dropout": 0.0}},
    method=MethodConfig(
        "multi_teacher",
        {
            "teachers": ["ferplus_student_webcam", "ferplus_student", "ferplus_webcam"],
            "teacher_weights": [2.0, 1.0, 1.0],
            "views": 0,
            "second_dataset": "fer2013",
            "second_weight": 0.5,
        },
    ),
    training={"epochs": 30, "learning_rate": 0.002, "ema_momentum": 0.999},
)
