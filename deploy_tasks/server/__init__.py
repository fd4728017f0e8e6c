"""The Deploy API: one application over a builder, a registry and a cluster. `memory/` has those of the sandbox.

It imports nothing of this package but the grammar of images, so that it cannot share a bug with the client.
"""
