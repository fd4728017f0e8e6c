"""Output. Every line goes through `console`; `progress`, `live` and `github` write through it, too."""
