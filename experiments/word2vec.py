"""FER2013 by word vectors: the face is mapped to its emotion's word, with a cosine loss.

Source: the word2vec write-up (targets are the vectors of angry, disgust, fear, happy, sad,
surprise, neutral; loss 1 - cos; the nearest class vector is the prediction). Its printed code has
nine defects, listed in `fer_keras/methods/word2vec.py` with the test that guards each.
Command: python -m fer_keras.train --exp word2vec
Cost: 40 epochs, 21 minutes on two CPU cores that other work shared.
Result: 0.6531 on PublicTest = validation (n 3,589, seed 0, epoch chosen on it).
"""

from fer_keras.config import DatasetConfig, Experiment, MethodConfig

experiment = Experiment(
    name="word2vec",
    dataset=DatasetConfig(name="fer2013"),
    augmentation="standard",
    method=MethodConfig("word2vec", {"loss": "cosine", "dropout": 0.3}),
)
