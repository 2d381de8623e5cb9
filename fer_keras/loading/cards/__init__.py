"""Cards of models in other projects' packages: what their numbers mean (`runtime/peer.py`)."""
