"""A Deploy API on this machine: for trying the kit, for testing chains in a developer's repository, for our own tests.

It imports nothing else of this package, so that it cannot share a bug with the client.
"""
