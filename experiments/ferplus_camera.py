"""The model to ship for cameras: FER+ votes, and pictures made as bad as a webcam makes them.

Source: ours; votes by the rule of Barsoum et al. 2016 (ICMI), scheme CEL. Training pictures whose
exact pixels also occur in PublicTest are left out. bfloat16 is faster here because this CPU has
instructions for it (avx512_bf16); without them set training.precision=float32.
Command: python -m fer_keras.train --exp ferplus_camera
Cost: 40 epochs, 87 minutes on two CPU cores that other work shared.
Result: 0.8606 on PublicTest = validation, majority label (n 3,199, seed 0, epoch chosen on it).
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="ferplus_camera",
    dataset=DatasetConfig(name="ferplus", label_rule="crossentropy", without_duplicates=True),
    augmentation="camera",
    network=NetworkConfig(
        "compact",
        {"first_stride": 1, "widths": [48, 96, 160, 256], "depths": [1, 2, 2, 1]},
    ),
    method=MethodConfig("label_distribution", {"scheme": "cross_entropy"}),
    training=TrainingConfig(epochs=40, precision="mixed_bfloat16"),
)
