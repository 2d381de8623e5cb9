"""Cuts faces out of pictures and writes a data set of them."""
