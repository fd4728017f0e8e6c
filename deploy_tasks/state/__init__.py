"""The files under `.deploy/`, and the lock of a checkout."""
