"""FER2013 by word vectors with a softmax over scaled cosines in place of the plain cosine loss.

Source: our extension of the word2vec write-up; normalised softmax as in NormFace (Wang et al.
2017), with fixed class vectors.
Command: python -m fer_keras.train --exp word2vec_softmax
Cost: 40 epochs, 18 minutes on two CPU cores that other work shared.
Result: 0.6629 on PublicTest = validation (n 3,589, seed 0, epoch chosen on it).
"""

from fer_keras.config import MethodConfig, based_on

experiment = based_on(
    "word2vec",
    name="word2vec_softmax",
    method=MethodConfig("word2vec", {"loss": "cosine_softmax", "scale": 16.0, "dropout": 0.3}),
)
