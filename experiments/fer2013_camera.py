"""FER2013's own seven labels, starting from the FER+ network of `ferplus_camera`.

Source: ours. The votes of FER+ are of the same pictures and less noisy than the labels, so the
network learns from them first; the classifier starts from its rows of the same names. Pictures
whose exact pixels also occur in PublicTest are left out in both stages. bfloat16 as there:
without avx512_bf16 set training.precision=float32.
Command: python -m fer_keras.train --exp fer2013_camera
Cost: 22 epochs, 126 minutes on two CPU cores, most of them on one, after those of ferplus_camera.
Result: 0.6824 on PublicTest = validation (n 3,589, seed 0, epoch chosen on it), in float32, from a
`ferplus_camera` of batches of 256 (docs/model-log.md); 0.6943 with the mirror image averaged in.
"""

from fer_keras.config import DatasetConfig, MethodConfig, based_on

experiment = based_on(
    "ferplus_camera",
    name="fer2013_camera",
    dataset=DatasetConfig(name="fer2013", without_duplicates=True),
    augmentation="standard",
    network={"weights": "ferplus_camera"},
    method=MethodConfig("cross_entropy", {"label_smoothing": 0.1}),
    training={"epochs": 22, "learning_rate": 0.0015},
)
