"""Builds and pushes images with this machine's container engine. To add an engine, see `kind.py`."""
