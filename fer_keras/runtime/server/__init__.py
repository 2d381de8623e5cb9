"""A server of expressions over HTTP and WebSocket; what `python -m fer_keras.serve` runs."""
