"""FER2013's own seven labels by the network of `ferplus_teacher`, which they start from.

Source: ours; see `fer2013_camera`, whose teacher this is. Pictures whose exact pixels also occur in
PublicTest are left out in both stages.
Command: python -m fer_keras.train --exp fer2013_teacher --backend jax
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="fer2013_teacher",
    dataset=DatasetConfig(name="fer2013", without_duplicates=True),
    augmentation="standard",
    network=NetworkConfig(
        "compact",
        {
            "stem_filters": 64,
            "first_stride": 1,
            "widths": [96, 192, 320, 512],
            "depths": [1, 2, 2, 1],
            "dropout": 0.4,
        },
        weights="ferplus_teacher",
    ),
    method=MethodConfig("cross_entropy", {"label_smoothing": 0.1}),
    training=TrainingConfig(
        epochs=25, batch_size=256, learning_rate=0.002, precision="mixed_bfloat16"
    ),
)
