"""FER2013's own seven labels by two networks that learned in different ways: the mean of both.

Source: ours. `fer2013_camera` starts from the votes of FER+, `fer2013_cutmix` from scratch, so they
are wrong on different pictures; both are trained first, where there is no finished run of them. The
mean of their logits has nothing to train.
Command: python -m fer_keras.train --exp fer2013_ensemble
Cost: those of the two.
Result: 0.6921 on PublicTest = validation (n 3,589, seed 0; the epochs of both were chosen on it).
"""

from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="fer2013_ensemble",
    dataset=DatasetConfig(name="fer2013", without_duplicates=True),
    network=NetworkConfig(
        "fusion", {"bases": ["fer2013_camera", "fer2013_cutmix"], "rule": "mean_logits"}
    ),
    training=TrainingConfig(epochs=1),
)
