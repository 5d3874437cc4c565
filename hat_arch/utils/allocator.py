"""Makes the C library keep freed memory for later layers (Linux with glibc; elsewhere nothing happens).

The features of a layer are tens of megabytes. By default glibc takes blocks of that size from the system each time and
gives them back when they are freed, and the system fills them with zeros: a quarter of the time of HAT's forward at
256×256 on a CPU.
"""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEEP = {M_MMAP_THRESHOLD: 2**30, M_TRIM_THRESHOLD: 2**31 - 1}


def keep() -> bool:
    """Makes glibc keep freed blocks below 1 GiB in this process; returns whether it does.

    This concerns the whole process, so a program calls it, never a library: ``basicsr`` does. If the environment
    configures glibc's malloc, that stands.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    mallopt = _function("mallopt")
    return mallopt is not None and all(bool(mallopt(name, value)) for name, value in KEEP.items())


def hand_back() -> None:
    """Gives kept memory back to the system."""
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


def _function(name: str) -> ctypes._NamedFuncPointer | None:
    """A function of glibc; None with another C library."""
    library = ctypes.CDLL(None) if hasattr(os, "confstr") else None
    if not hasattr(library, "gnu_get_libc_version"):
        return None
    return getattr(library, name)
