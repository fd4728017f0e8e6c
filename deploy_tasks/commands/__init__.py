"""What each task does."""
