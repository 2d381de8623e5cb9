"""Networks as their authors publish them: weights in PyTorch files, read without PyTorch.

A family is a file of this folder: which network the weights are of, how their names are mapped, the
label orders that the authors have, the size of the pictures, and how the authors decide.
"""

from fer_keras.loading.published.read import (
    FAMILIES,
    Published,
    files_sha256,
    is_published_path,
    published_spec,
    read_published,
    start_from_published,
)

__all__ = [
    "FAMILIES",
    "Published",
    "files_sha256",
    "is_published_path",
    "published_spec",
    "read_published",
    "start_from_published",
]
