"""Pixels to unit vectors: decoding, detection, alignment, quality, embedding, training and evaluation."""
