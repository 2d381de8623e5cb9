"""The small model to ship: `ferplus_tiny_labels`, trained on with pictures harmed in known ways.

Source: ours, as `ferplus_student_webcam`: half the pictures are mild, the others harmed
(`camera_half`), and a share of the weights of its start stays in the mean (Wortsman et al., CVPR
2022). Training pictures whose exact pixels also occur in PublicTest are left out. bfloat16 needs a
CPU with avx512_bf16; without it set training.precision=float32, as the run did.
Command: python -m fer_keras.train --exp ferplus_tiny_webcam
Cost: 16 epochs, 17 minutes on one of two CPU cores, after those of ferplus_tiny_labels.
Result: 0.8506, balanced 0.6485, on PublicTest = validation, majority label (n 3,199, seed 0, last
epoch). `saved_models/ferplus_tiny` is the mean of its weights and those of `ferplus_tiny_labels`
with seed 1, with the mirror image: docs/model-log.md.
"""

from fer_keras.config import based_on

experiment = based_on(
    "ferplus_tiny_labels",
    name="ferplus_tiny_webcam",
    augmentation="camera_half",
    network={"weights": "ferplus_tiny_labels", "keep_start": 0.4},
    training={"epochs": 16, "learning_rate": 0.0015, "keep": "last"},
)
