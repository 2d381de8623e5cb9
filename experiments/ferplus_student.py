"""A network of 56 million multiplications that reads one picture once, taught by three larger ones.

Source: ours; the teachers are asked once (Shen and Xing 2022, `multi_teacher`): `ferplus_webcam`,
which reads the picture and its mirror image with 103 million multiplications each,
`ferplus_face_features` and `fer2013`, which knows FER2013's own labels. It starts from the channels
of `ferplus_webcam` that matter most. Training pictures whose exact pixels also occur in PublicTest
are left out. The run took the exported int8 file of `ferplus_webcam` for the teacher.
Command: python -m fer_keras.train --exp ferplus_student
Cost: 40 epochs, 84 minutes on two CPU cores that other work shared, 17 for the teachers.
Result: 0.8684, balanced 0.6520, on PublicTest = validation, majority label (n 3,199, seed 0, epoch
30 of 40, chosen on it); `ferplus_student_webcam` trains it on.
"""

from fer_keras.config import MethodConfig, based_on

experiment = based_on(
    "ferplus_camera",
    name="ferplus_student",
    network={
        "options": {"stem_filters": 24, "widths": [32, 64, 128, 256]},
        "weights": "ferplus_webcam",
    },
    method=MethodConfig(
        "multi_teacher",
        {
            "teachers": ["ferplus_webcam", "ferplus_face_features", "fer2013"],
            "teacher_weights": [1.0, 0.7, 0.2],
            "views": 4,
        },
    ),
    training={
        "epochs": 40,
        "learning_rate": 0.002,
        "warmup_epochs": 0.5,
        "ema_momentum": 0.999,
    },
)
