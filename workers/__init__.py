"""Everything of dbp that imports Ray: the actors, the pool of them, and `train`."""
