"""Importing this registers what is in the modules, by the decorators on their classes."""

import hat_arch  # noqa: F401 (before basicsr, which it makes importable)

from . import loss, network

__all__ = ["loss", "network"]
