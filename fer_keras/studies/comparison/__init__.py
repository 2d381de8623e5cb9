"""What `python -m fer_keras.compare` is made of."""
