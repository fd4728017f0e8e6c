"""Builds and pushes images with the container engine of this machine. To add an engine, see `kind.py`."""
