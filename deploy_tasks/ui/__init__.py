"""Output: to people (stderr), to programs (stdout), to GitHub. Commands use `console` and `github`."""
