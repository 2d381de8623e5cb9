"""`ferplus_student`, trained on with FER2013's own labels beside the votes, on mild pictures.

Source: ours (`fer_keras.methods.auxiliary_labels`); `ferplus_webcam`, the student itself and
`ferplus_auxiliary`, which has learned both labels, see the clean picture. The harder pictures of
`camera` bring nothing here: docs/model-log.md has both. Training pictures whose exact pixels also
occur in PublicTest are left out; `ferplus_auxiliary` alone has seen them.
Command: python -m fer_keras.train --exp ferplus_student_labels
Cost: 16 epochs, 24 minutes on one of two CPU cores, after those of its start and its teachers.
Result: 0.8734, balanced 0.6748, on PublicTest = validation, majority label (n 3,199, seed 0, epoch
15 of 16, chosen on it); `ferplus_student` has 0.8684 and 0.6520.
"""

from fer_keras.config import based_on

experiment = based_on(
    "ferplus_student",
    name="ferplus_student_labels",
    augmentation="standard",
    network={"weights": "ferplus_student"},
    method={
        "options": {
            "teachers": ["ferplus_webcam", "ferplus_student", "ferplus_auxiliary"],
            "teacher_weights": [1.0, 1.0, 2.0],
            "views": 0,
            "second_dataset": "fer2013",
            "second_weight": 0.5,
        }
    },
    training={"epochs": 16, "learning_rate": 0.0015},
)
