"""Cards of models in other projects' packages; `fer_keras/loading/peer.py` reads them."""
