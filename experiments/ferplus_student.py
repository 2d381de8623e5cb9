"""A network of 56 million multiplications that reads one picture once, taught by two larger ones.

Source: ours; the teachers are asked once (Shen and Xing 2022, `multi_teacher`): the shipped
`ferplus`, which reads the picture and its mirror image with 103 million multiplications each, and
the newest finished run of `ferplus_face_features`. It starts from the channels of `ferplus`
that matter most. Training pictures whose exact pixels also occur in PublicTest are left out.
Command: python -m fer_keras.train --exp ferplus_student
"""

from fer_keras.config import MethodConfig, based_on

experiment = based_on(
    "ferplus_camera",
    name="ferplus_student",
    network={
        "options": {"stem_filters": 24, "widths": [32, 64, 128, 256]},
        "weights": "ferplus",
    },
    method=MethodConfig(
        "multi_teacher",
        {
            "teachers": ["ferplus/model_int8.tflite", "ferplus_face_features"],
            "teacher_weights": [1.0, 0.5],
            "views": 4,
        },
    ),
    training={
        "epochs": 25,
        "learning_rate": 0.002,
        "warmup_epochs": 0.5,
        "ema_momentum": 0.99,
    },
)
