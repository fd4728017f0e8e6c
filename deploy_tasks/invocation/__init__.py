"""Runs a task's command, for one app or several."""
