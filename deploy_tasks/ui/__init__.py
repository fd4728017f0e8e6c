"""Output: `console` is the door that every line passes; `progress`, `live` and `github` write through it."""
