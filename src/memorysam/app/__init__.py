"""Pictures instead of numbers: local pages that show a model at work, and a data set."""
