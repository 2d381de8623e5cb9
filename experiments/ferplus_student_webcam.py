"""The student of `ferplus_student`, trained on with pictures that are harmed in every way we know.

Source: ours; noisy student (Xie et al., CVPR 2020): four teachers, the student itself among them,
see the clean picture, and the student learns their answer from the harmed one (`camera_worst`).
Training pictures whose exact pixels also occur in PublicTest are left out.
Command: python -m fer_keras.train --exp ferplus_student_webcam
Cost: an earlier form, 15 epochs with four in five pictures harmed, took 31 minutes.
Result of that form: 0.8543, balanced 0.6233, on PublicTest = validation, majority label (n 3,199,
seed 0, last epoch); what it gained and lost under corruptions is in docs/model-log.md.
"""

from fer_keras.config import based_on

experiment = based_on(
    "ferplus_student",
    name="ferplus_student_webcam",
    augmentation="camera_worst",
    network={"weights": "ferplus_student"},
    method={
        "options": {
            "teachers": [
                "ferplus_student",
                "ferplus_webcam",
                "ferplus_face_features",
                "ferplus_tiny",
            ],
            "teacher_weights": [1.0, 1.0, 1.0, 0.5],
            "views": 0,
        }
    },
    training={"epochs": 40, "learning_rate": 0.001, "keep": "last"},
)
