"""Evaluation: how predictions are made, counted and reported."""
