"""Keep the memory that a training step frees."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt (malloc.h)."""


def keep_freed_memory() -> bool:
    """Let glibc keep large freed blocks instead of returning them to the system.

    A step on the CPU frees and takes the same hundreds of megabytes of activations again and again; by
    default each block goes back to the kernel and is zeroed anew, which took half of a small network's
    training time. Memory in use stays at its peak.

    Returns:
        Whether it was done; only glibc (most Linux systems) has this switch.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL("libc.so.6")
    return bool(libc.mallopt(M_MMAP_MAX, 0)) and bool(libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
