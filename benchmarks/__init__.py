"""What is promised of the kit's speed, measured side by side with the least that would do the same."""
