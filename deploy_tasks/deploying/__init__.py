"""Deploys of digests: what is sent, what a person sees before, and the way back."""
