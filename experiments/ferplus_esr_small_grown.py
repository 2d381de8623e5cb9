"""FER+ by narrow branches that join one after the other, for two CPU cores.

Source: Siqueira et al. 2020 (AAAI), section 4.3: a new branch at .1, the base and older branches at
.02, SGD with momentum .9, at most 5000 pictures of each class. The size is that of
`ferplus_esr_small` with three branches of nine; 5 epochs of the first stage and 2 of the others,
where the source has 100 and 60; the rate falls by a cosine within each stage.
Command: python -m fer_keras.train --exp ferplus_esr_small_grown
Cost: three stages, 20 minutes on two CPU cores that other work shared.
Result: 0.7446 [0.7292, 0.7594], balanced 0.4423, on PublicTest = validation, majority label
(n 3,199, seed 0, epoch chosen on it); the vote 0.7412. Measured at commit 4b9ff0ba6083 as
`ferplus_esr_small` with these settings; docs/ensembles.md has the stages.
"""

from fer_keras.config import based_on

experiment = based_on(
    "ferplus_esr_small",
    name="ferplus_esr_small_grown",
    dataset={"per_class": 5000},
    network={"options": {"num_branches": 3}},
    training={
        "epochs": 2,
        "batch_size": 32,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "nesterov": False,
        "warmup_epochs": 0.0,
        "weight_decay": 0.0,
    },
    growth={"first": 1, "first_epochs": 5, "old_rate": 0.2},
)
