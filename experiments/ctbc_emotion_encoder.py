"""CTBC by an emotion encoder beside a frozen identity encoder: the first stage, in ten folds.

Source, network and recipe: `affectnet_small_emotion_encoder`. A fold of `ctbc_disentangled` starts
from a run of the same fold, which saw none of its test subjects.
Command: python -m fer_keras.train --exp ctbc_emotion_encoder
"""

from fer_keras.config import DatasetConfig, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="ctbc_emotion_encoder",
    dataset=DatasetConfig(
        name="ctbc", image_size=224, channels=3, split="folds", folds=10, fold=-1
    ),
    augmentation="light",
    network=NetworkConfig(
        "emotion_encoder", {"encoder": "mobilenet_v3_large", "identity": "resnet50_vggface2"}
    ),
    training=TrainingConfig(
        epochs=30, batch_size=32, optimizer="adam", learning_rate=1e-3, weight_decay=0.0
    ),
)
