"""Sums over samples: shards, partial sums, the fixed tree, and the pools of workers that compute them."""
