"""A trained model as a file for other programs: one graph, for one list of modalities and one image size."""
