"""The Deploy API server: its parts, and all of it over real sockets."""
