"""Trained models: predict, evaluate, save, load."""
