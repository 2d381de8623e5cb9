"""Milliseconds of models and detectors, taken in turns."""
