"""The tasks that neither build nor deploy: they look, or they set up."""
