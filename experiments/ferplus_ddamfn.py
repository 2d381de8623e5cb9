"""FER+ by DDAMFN with two attention heads at 112 pixels, from random weights; for a GPU.

Source: Zhang et al. 2023 (Electronics 12(17)), 90.74 % on the test split of FER+, with the recipe
of their program: SGD at 0.01, a tenth of it every 10 epochs, 80 epochs of batches of 256, the
attention loss of the program with weight 0.1. What differs:

- They start from a backbone trained on MS-Celeb-1M faces, which is not shipped; random weights
  need the attention loss to grow over the first steps, as it is forty times the cross-entropy.
- Their weight decay of 1e-4 is part of the gradient, where the momentum of 0.9 makes ten times as
  much of it; Keras' stands beside the gradient, so it is 1e-3, and spares biases and batch norm.
- They choose the epoch on the test split; here the validation split chooses.

Command: python -m fer_keras.train --exp ferplus_ddamfn
"""

from fer_keras.config import (
    DatasetConfig,
    Experiment,
    MethodConfig,
    NetworkConfig,
    TrainingConfig,
)

experiment = Experiment(
    name="ferplus_ddamfn",
    dataset=DatasetConfig(name="ferplus", label_rule="majority", image_size=112, channels=3),
    augmentation="ddamfn_ferplus",
    network=NetworkConfig("ddamfn", {"num_heads": 2}),
    method=MethodConfig("attention_diversity", {"weight": 0.1, "warmup_steps": 500}),
    training=TrainingConfig(
        epochs=80,
        batch_size=256,
        optimizer="sgd",
        nesterov=False,
        learning_rate=0.01,
        schedule="step",
        decay_epochs=10,
        decay_rate=0.1,
        warmup_epochs=0.0,
        weight_decay=1e-3,
    ),
)
