"""The only reader of model files: the trust boundary of the project.

Two formats are read. A `.keras` archive may hold Keras' own layers and layers registered by
`fer_keras`, nothing else: its configuration is checked before Keras sees it, and Keras' safe mode
stays on. A `.tflite` file may hold built-in operators only. Size caps are checked before a file is
opened, checksums before it is interpreted. SavedModels of others are never loaded: their graph may
read and write files while it runs.
"""

from fer_keras.loading.classifier import LoadedModel
from fer_keras.loading.keras_files import load_network, save_network
from fer_keras.loading.load import load_model

__all__ = ["LoadedModel", "load_model", "load_network", "save_network"]
