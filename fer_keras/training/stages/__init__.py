"""Trainings of several runs: folds, growth, earlier stages."""
