"""FER+ by an ESR-9 that comes from AffectNet, fine-tuned branch after branch; for a GPU.

Source: Siqueira et al. 2020 (AAAI), section 4.3: 87.15 % on the test split. Starts from
`affectnet_esr`, which is trained first where there is no run of it; classes are matched by their
names. Branch after branch joins the loss: base and first branch at 0.1, the others at 0.02, times
0.75 every ten epochs, 100 epochs and 60 for each later branch. For another start, or none: --set
network.weights=PATH (or nothing after the equals sign).
Command: python -m fer_keras.train --exp ferplus_esr_transfer
"""

from fer_keras.config import based_on

experiment = based_on(
    "ferplus_esr",
    name="ferplus_esr_transfer",
    network={"weights": "affectnet_esr"},
    training={
        "epochs": 60,
        "learning_rate": 0.1,
        "layer_rates": {"branch*": 0.2, "branch1_*": 1.0},
    },
    growth={"first": 1, "first_epochs": 100},
)
