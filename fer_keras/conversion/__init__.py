"""From a trained network to files that need no Keras."""
