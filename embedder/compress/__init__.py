"""Compression: the same model in less time, and what of its accuracy that costs."""
