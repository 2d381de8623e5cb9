"""The shape of `ferplus` at 0.26 M parameters, from its channels that matter most.

Source: ours, as `ferplus_student_labels`: the shipped `ferplus` (picture and mirror image),
`ferplus_student` and `ferplus_webcam` see the clean picture, the pictures are mild, and FER2013's
own labels are learned beside the votes. What a file of this size has to spare is multiplications:
the first stage works at 24x24 pixels. Training pictures whose exact pixels also occur in PublicTest
are left out.
Command: python -m fer_keras.train --exp ferplus_tiny_labels
Cost: 30 epochs, 48 minutes on one of two CPU cores (AVX2), after those of its teachers.
Result: 0.8600, balanced 0.6446, on PublicTest = validation, majority label (n 3,199, seed 0, epoch
29 of 30, chosen on it); seed 1 has 0.8578 and 0.6396.
"""

from fer_keras.config import MethodConfig, based_on

experiment = based_on(
    "ferplus_tiny",
    name="ferplus_tiny_labels",
    network={
        "options": {
            "stem_filters": 16,
            "widths": [24, 40, 56, 72],
            "depths": [1, 2, 2, 1],
            "first_stride": 1,
            "dropout": 0.0,
        },
        "weights": "ferplus",
    },
    method=MethodConfig(
        "multi_teacher",
        {
            "teachers": ["ferplus", "ferplus_student", "ferplus_webcam"],
            "teacher_weights": [2.0, 1.0, 1.0],
            "views": 0,
            "second_dataset": "fer2013",
            "second_weight": 0.5,
        },
    ),
    training={
        "epochs": 30,
        "learning_rate": 0.002,
        "ema_momentum": 0.999,
        "precision": "float32",
    },
)
