"""The Deploy API over real sockets: one suite for every implementation of its builder, registry and cluster.

Another implementation joins by a class like `Memory` in `implementations.py`, and one more line in `IMPLEMENTATIONS`.
"""
