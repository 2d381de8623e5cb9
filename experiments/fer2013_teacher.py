"""FER2013's own seven labels by the network of `ferplus_teacher`, which they start from.

Source: ours; see `fer2013_camera`, whose teacher this is. Pictures whose exact pixels also occur in
PublicTest are left out in both stages.
Command: python -m fer_keras.train --exp fer2013_teacher --backend jax
"""

from fer_keras.config import DatasetConfig, MethodConfig, based_on

experiment = based_on(
    "ferplus_teacher",
    name="fer2013_teacher",
    dataset=DatasetConfig(name="fer2013", without_duplicates=True),
    augmentation="standard",
    network={"weights": "ferplus_teacher"},
    method=MethodConfig("cross_entropy", {"label_smoothing": 0.1}),
    training={"epochs": 25, "learning_rate": 0.002},
)
