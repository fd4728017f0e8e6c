"""Configuration: settings and their sources, `.env` files, environments, the table of apps."""
