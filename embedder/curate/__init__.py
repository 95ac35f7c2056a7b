"""Finds what is wrong with a class-per-folder set of pictures before anything is trained on it."""
