"""The Deploy API's client."""
