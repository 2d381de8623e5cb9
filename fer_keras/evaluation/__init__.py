"""The figures of a model on one split, and what a run was trained on."""
