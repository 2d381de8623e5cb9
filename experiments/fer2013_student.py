"""FER2013's own seven labels by the network of `ferplus_student`, which reads one picture once.

Source: ours; starts from the FER+ network, learns the votes of FER+ beside the labels
(`fer_keras.methods.auxiliary_labels`), and its teacher is the larger `fer2013_camera`, which reads
the picture and its mirror image and answers the clean picture (noisy student, Xie et al., CVPR
2020). Pictures whose exact pixels also occur in PublicTest are left out in all stages but that of
`ferplus_auxiliary`, a teacher of its start. bfloat16 needs a CPU with avx512_bf16; without it set
training.precision=float32, as the run did.
Command: python -m fer_keras.train --exp fer2013_student
Cost: 20 epochs, 81 minutes on one of two CPU cores without AVX-512, after those of its start.
Result: 0.6874, balanced 0.6490, on PublicTest = validation (n 3,589, seed 0, epoch 20 of 20, chosen
on it).
"""

from fer_keras.config import DatasetConfig, MethodConfig, based_on

experiment = based_on(
    "ferplus_student",
    name="fer2013_student",
    dataset=DatasetConfig(name="fer2013", without_duplicates=True),
    augmentation="standard",
    network={"weights": "ferplus_student_webcam"},
    method=MethodConfig(
        "multi_teacher",
        {
            "teachers": ["fer2013_camera"],
            "weight": 0.7,
            "views": 0,
            "second_dataset": "ferplus",
            "second_rule": "crossentropy",
            "second_weight": 1.0,
        },
    ),
    training={"epochs": 20, "learning_rate": 0.0015},
)
