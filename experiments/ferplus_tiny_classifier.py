"""The small model to ship: `ferplus_tiny_webcam`, its classifier trained once more on the votes.

Source: as `ferplus_classifier` (Kang et al., ICLR 2020, section 4), from the small network.
Command: python -m fer_keras.train --exp ferplus_tiny_classifier
Cost: 5 epochs, 2 minutes on one of two CPU cores, after those of ferplus_tiny_webcam.
Result: 0.8562, balanced 0.6264, on PublicTest = validation, majority label (n 3,199, seed 0, last
epoch); with the mirror image and by the prior of docs/prior.md 0.8625, balanced 0.7388. That is
`saved_models/ferplus_tiny`.
"""

from fer_keras.config import based_on, load_experiment

_source = load_experiment("ferplus_classifier")
experiment = based_on(
    "ferplus_tiny_webcam",
    name="ferplus_tiny_classifier",
    network={"weights": "ferplus_tiny_webcam", "keep_start": 0.0},
    method=_source.method,
    training=_source.training,
)
