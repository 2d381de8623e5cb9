"""Run exported models with NumPy, OpenCV and LiteRT: no TensorFlow and no Keras."""

from fer_keras.runtime.export_files import default_model
from fer_keras.runtime.recognizer import FaceResult, Recognizer

__all__ = ["FaceResult", "Recognizer", "default_model"]
