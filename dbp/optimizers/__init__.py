"""Training methods, one file each, behind one protocol."""
