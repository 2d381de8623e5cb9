"""Draws faces with known expressions."""
