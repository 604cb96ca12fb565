"""Modules whose text becomes part of exported files. They use numpy (and torch) alone: nothing of dbp goes with them."""
