"""Builds: in the cluster, on this machine, and what becomes of their digests."""
