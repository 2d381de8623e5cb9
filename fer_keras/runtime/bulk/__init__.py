"""Predictions for pictures by the million, in shards."""
