"""The control for word2vec: the same cosine loss with random orthonormal vectors as the words.

What word2vec gains over this run is owed to the meaning of the words, not to the loss.
Command: python -m fer_keras.train --exp word2vec_random
Cost: 40 epochs, 21 minutes on two CPU cores that other work shared.
Result: 0.6520 on PublicTest = validation (n 3,589, seed 0, epoch chosen on it).
"""

from fer_keras.config import MethodConfig, based_on

experiment = based_on(
    "word2vec",
    name="word2vec_random",
    method=MethodConfig("word2vec", {"loss": "cosine", "random": True, "dropout": 0.3}),
)
