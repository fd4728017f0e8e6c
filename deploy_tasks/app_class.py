"""App classes: which nodes run an app."""

from __future__ import annotations

APP_CLASSES = {"business": "apps", "non-business": "non-business-apps"}
"""Each app class with the namespace that its apps have unless another is named. Source: docs/deploy-api.md."""
DEFAULT_APP_CLASS = "business"
