"""The Deploy API: one application over a builder, a registry and a cluster. `memory/` has those of the sandbox.

Of this package, it imports only `images.py`, the grammar of image references: it must not share a bug with the client.
"""
