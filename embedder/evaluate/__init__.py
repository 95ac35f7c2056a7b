"""How well a model tells people apart: protocols read, scores measured, reports written."""
