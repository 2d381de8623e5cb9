"""FER+ by a DDAMFN of half the width at 48 pixels, for two CPU cores.

Source: Zhang et al. 2023 (Electronics 12(17)); the size and the recipe are ours. Half the channels
and 2, 4 and 2 residual blocks in place of 9, 16 and 6: 493 thousand parameters, 3x3 attention maps,
and a third of the speed of `compact`. The attention loss grows over the first steps, as the weights
are random; `--set method.options.weight=0` is the control without it.
Command: python -m fer_keras.train --exp ferplus_ddamfn_small --set training.epochs=13
Cost: 13 epochs, 69 minutes on one CPU core.
Result: 0.8199 on PublicTest = validation, majority label (n 3,199, seed 0, epoch chosen on it).
"""

from fer_keras.config import DatasetConfig, Experiment, MethodConfig, NetworkConfig

experiment = Experiment(
    name="ferplus_ddamfn_small",
    dataset=DatasetConfig(name="ferplus", label_rule="majority"),
    augmentation="standard",
    network=NetworkConfig("ddamfn", {"num_heads": 2, "width": 0.5, "depths": [2, 4, 2]}),
    method=MethodConfig("attention_diversity", {"weight": 0.1, "warmup_steps": 500}),
)
