"""A tenth of AffectNet by ViT_SE: ViT-B/16 with a gate on its pooled vector.

Source: Aouayeb et al. 2021 (arXiv:2107.03107) in the public program
jerry940100/Facial-Expression-Recognition: 34.7 % on AffectNet's validation pictures (chance: 12.5),
from weights of ImageNet-21k. Batches of 32, 30 epochs and Adam, no dropout and the epsilon of the
normalisation are the source's. A small one for two cores is a row of:
python -m fer_keras.study embeddings
Command: python -m fer_keras.train --exp affectnet_small_vit_se
"""

from fer_keras.config import DatasetConfig, Deviation, Experiment, NetworkConfig, TrainingConfig

experiment = Experiment(
    name="affectnet_small_vit_se",
    dataset=DatasetConfig(name="affectnet_small", image_size=224, channels=3),
    network=NetworkConfig("vit_se", {"gate": "sigmoid", "dropout": 0.0, "norm_epsilon": 1e-12}),
    training=TrainingConfig(
        epochs=30,
        batch_size=32,
        optimizer="adam",
        learning_rate=5e-5,
        schedule="constant",
        warmup_epochs=3.0,
        weight_decay=0.0,
    ),
)
deviations = (
    Deviation(
        "start", "ImageNet-21k", "random weights", "nothing is fetched; no file of them is read yet"
    ),
    Deviation(
        "gate",
        "ReLU in the program",
        "sigmoid",
        "as in Hu et al. 2018; a ReLU can fall silent for good; --set network.options.gate=relu",
    ),
    Deviation(
        "learning rate", "not stated", "5e-5 with three epochs of warm-up", "usual for a ViT"
    ),
)
