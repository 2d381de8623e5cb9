"""RAF-DB by relative uncertainty, as published: ResNet18 of MS-Celeb-1M at 224 pixels; for a GPU.

Source: Zhang et al. 2021 (NeurIPS), RUL: 88.98 % on the test split, the epoch chosen there; Adam
at 2e-4 (the classifier at ten times that), 0.9 of it after every epoch, 60 epochs of batches of 64.
The start is a file of yours: --set network.weights=resnet18_msceleb.pth. Published noise:
--set dataset.label_list=noise01.txt
Command: python -m fer_keras.train --exp rafdb_rul
"""

from fer_keras.config import Deviation, MethodConfig, NetworkConfig, based_on

experiment = based_on(
    "rafdb_eac",
    name="rafdb_rul",
    augmentation="rul",
    network=NetworkConfig(
        "resnet18", {"stem": "imagenet", "normalisation": "imagenet", "dropout": 0.0}
    ),
    method=MethodConfig("relative_uncertainty", {"dimensions": 64, "dropout": 0.4}),
    training={"batch_size": 64, "learning_rate": 2e-4, "layer_rates": {"logits": 10.0}},
)
deviations = (
    Deviation("start", "MS-Celeb-1M", "random weights", "not shipped; network.weights=FILE"),
    Deviation(
        "augmentation",
        "a quarter mirrored, a quarter with noise of variance 30; erasing",
        "half mirrored; erasing",
        "the usual mirror; noise has no policy here",
    ),
    Deviation("weight decay", "1e-4, part of the gradient", "none", "Adam divides it away"),
    Deviation(
        "choice of the epoch", "the test split", "a tenth of train", "test is for the last figure"
    ),
)
