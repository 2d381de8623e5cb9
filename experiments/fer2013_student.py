"""FER2013's own seven labels by the network of `ferplus_student`, which reads one picture once.

Source: ours; starts from the FER+ network, its teacher is the larger `fer2013_camera`, which reads
the picture and its mirror image and answers the clean picture (noisy student, Xie et al., CVPR
2020). Pictures whose exact pixels also occur in PublicTest are left out in all stages.
Command: python -m fer_keras.train --exp fer2013_student
Result: stopped after 10 of 25 epochs, 95 s each beside other work, at 0.6687 on PublicTest =
validation (n 3,589, seed 0, epoch 9, chosen on it); balanced accuracy was not measured.
"""

from fer_keras.config import DatasetConfig, MethodConfig, based_on

experiment = based_on(
    "ferplus_student",
    name="fer2013_student",
    dataset=DatasetConfig(name="fer2013", without_duplicates=True),
    augmentation="standard",
    network={"weights": "ferplus_student"},
    method=MethodConfig("multi_teacher", {"teachers": ["fer2013_camera"], "views": 0}),
    training={"epochs": 25, "learning_rate": 0.001},
)
