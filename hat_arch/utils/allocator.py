"""Whether the C library keeps freed memory for the next layer (Linux with glibc; elsewhere nothing happens).

A layer's features are tens of megabytes. glibc takes so much from the system anew each time, gives it back when it is
freed, and the system fills it with zeros in between: a quarter of the time of HAT's forward at 256×256 on a CPU.
"""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEEP = {M_MMAP_THRESHOLD: 2**30, M_TRIM_THRESHOLD: 2**31 - 1}


def keep() -> bool:
    """Has blocks below a GiB kept when they are freed, and returns whether that is so.

    It is for a whole process, so only a process's own program should decide it: ``basicsr`` does, unless the
    environment configures glibc's malloc.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    mallopt = _function("mallopt")
    return mallopt is not None and all(bool(mallopt(name, value)) for name, value in KEEP.items())


def hand_back() -> None:
    """Gives memory that was freed, and kept, back to the system."""
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


def _function(name: str) -> ctypes._NamedFuncPointer | None:
    """A function of glibc."""
    library = ctypes.CDLL(None) if hasattr(os, "confstr") else None
    if not hasattr(library, "gnu_get_libc_version"):
        return None
    return getattr(library, name)
