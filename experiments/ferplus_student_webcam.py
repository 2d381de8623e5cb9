"""The student of `ferplus_student`, trained on with pictures that are harmed in every way we know.

Source: ours; noisy student (Xie et al., CVPR 2020): three teachers, the student itself among them,
see the clean picture, and the student learns their answer from the harmed one (`camera_worst`).
Training pictures whose exact pixels also occur in PublicTest are left out.
Command: python -m fer_keras.train --exp ferplus_student_webcam
Cost: 15 epochs, 31 minutes on two CPU cores that other work shared, after those of ferplus_student.
Result: 0.8543, balanced 0.6233, on PublicTest = validation, majority label (n 3,199, seed 0, last
epoch); what it gains and loses under corruptions is in docs/model-log.md.
"""

from fer_keras.config import based_on

experiment = based_on(
    "ferplus_student",
    name="ferplus_student_webcam",
    augmentation="camera_worst",
    network={"weights": "ferplus_student"},
    method={
        "options": {
            "teachers": ["ferplus_student", "ferplus_webcam", "ferplus_face_features"],
            "teacher_weights": [1.0, 1.0, 0.7],
            "views": 0,
        }
    },
    training={"epochs": 15, "learning_rate": 0.001, "keep": "last"},
)
