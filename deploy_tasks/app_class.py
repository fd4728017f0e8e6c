"""App classes: which nodes run an app."""

from __future__ import annotations

APP_CLASSES = {"business": "apps", "non-business": "non-business-apps"}
"""Each app class with the namespace of its apps, unless they name another. Source: docs/deploy-api.md."""
DEFAULT_APP_CLASS = "business"
