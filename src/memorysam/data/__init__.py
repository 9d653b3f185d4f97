"""Data: a sample is {modality: array}, a label, and where it came from. Knows nothing of models."""
