"""Whether the C library keeps freed memory for the next layer (Linux with glibc; elsewhere nothing happens).

A layer's features are tens of megabytes. glibc takes so much from the system anew each time, gives it back when it is
freed, and the system fills it with zeros in between: a quarter of the time of HAT's forward at 256×256 on a CPU.
"""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
MIB = 2**20
KEEP = 2**30, 2**31 - 1
USUAL = 32 * MIB, 64 * MIB  # what glibc's own adaptation arrives at when features are large


def keep() -> bool:
    """Has blocks below a GiB kept when they are freed, and returns whether that is so.

    It is for a whole process, so only a process's own program should decide it: ``basicsr`` does, unless the
    environment configures glibc's malloc.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    return _set(*KEEP)


def usual() -> bool:
    """Undoes `keep` for what is freed from now on."""
    return _set(*USUAL)


def hand_back() -> None:
    """Gives memory that was freed, and kept, back to the system."""
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


def _set(mmap_threshold: int, trim_threshold: int) -> bool:
    mallopt = _function("mallopt")
    return mallopt is not None and bool(
        mallopt(M_MMAP_THRESHOLD, mmap_threshold) and mallopt(M_TRIM_THRESHOLD, trim_threshold)
    )


def _function(name: str) -> ctypes._NamedFuncPointer | None:
    """A function of glibc."""
    library = ctypes.CDLL(None) if hasattr(os, "confstr") else None
    if not hasattr(library, "gnu_get_libc_version"):
        return None
    return getattr(library, name)
