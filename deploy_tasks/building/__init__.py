"""Builds images, in the cluster or on this machine, and records their digests."""
