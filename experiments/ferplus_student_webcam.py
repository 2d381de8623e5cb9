"""`ferplus_student_labels`, trained on with pictures harmed in all known ways.

Source: ours; noisy student (Xie et al., CVPR 2020): three teachers, the student itself among them,
see the clean picture, and the student learns their answer from a mild or a harmed one
(`camera_half`), and FER2013's own label beside the votes. A quarter of the weights of its start
stays in the mean (Wortsman et al., CVPR 2022), which keeps the accuracy on clean pictures. Training
pictures whose exact pixels also occur in PublicTest are left out; `ferplus_auxiliary` alone, one of
the teachers, has seen them. bfloat16 needs a CPU with avx512_bf16; without it set
training.precision=float32.
Command: python -m fer_keras.train --exp ferplus_student_webcam
Cost: 34 epochs, 47 minutes on one of two CPU cores, after those of ferplus_student_labels.
Result: 0.8646, balanced 0.6637, without its start; with a quarter of it 0.8712 and 0.6660, on
PublicTest = validation, majority label (n 3,199, seed 0, last epoch, share chosen on it).
`ferplus_classifier` trains its last layer on; docs/model-log.md has what it gains and loses under
corruptions.
"""

from fer_keras.config import based_on

experiment = based_on(
    "ferplus_student_labels",
    name="ferplus_student_webcam",
    augmentation="camera_half",
    network={"weights": "ferplus_student_labels", "keep_start": 0.25},
    method={
        "options": {
            "teachers": ["ferplus_student_labels", "ferplus_auxiliary", "ferplus_webcam"],
            "teacher_weights": [2.0, 2.0, 1.0],
        }
    },
    training={"epochs": 34, "learning_rate": 0.001, "keep": "last"},
)
