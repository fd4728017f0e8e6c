"""What is wanted: settings with their sources, `.env` files, the table of apps."""
