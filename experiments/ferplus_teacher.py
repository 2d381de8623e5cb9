"""The teacher of the models to ship: `ferplus_camera`, twice as wide.

Source: ours; votes by the rule of Barsoum et al. 2016 (ICMI), scheme CEL. Four times the
multiplications of the network it teaches, so it is made for a GPU. Training pictures whose exact
pixels also occur in PublicTest are left out.
Command: python -m fer_keras.train --exp ferplus_teacher --backend jax
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="ferplus_teacher",
    dataset=DatasetConfig(name="ferplus", label_rule="crossentropy", without_duplicates=True),
    augmentation="camera",
    network=NetworkConfig(
        "compact",
        {
            "stem_filters": 64,
            "first_stride": 1,
            "widths": [96, 192, 320, 512],
            "depths": [1, 2, 2, 1],
            "dropout": 0.4,
        },
    ),
    method=MethodConfig("label_distribution", {"scheme": "cross_entropy"}),
    training=TrainingConfig(
        epochs=60, batch_size=256, learning_rate=0.005, precision="mixed_bfloat16"
    ),
)
