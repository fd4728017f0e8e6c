"""Deploys digests: shows the plan, sends the request, follows the rollout, and says how to undo it."""
