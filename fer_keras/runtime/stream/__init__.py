"""Cameras and films: read frames, follow faces, smooth, draw, record."""
