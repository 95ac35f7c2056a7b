"""Training: from a folder of pictures per class to a model that is measured, and exported only as it was measured."""
