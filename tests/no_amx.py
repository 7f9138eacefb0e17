"""A process that may not use AMX, for test_bfloat16_product.py."""

from __future__ import annotations

import ctypes
import struct

ARCH_PRCTL, SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW, EPERM = 158, 0x00050000, 0x7FFF0000, 1


def deny_arch_prctl():
    """A filter of system calls, as containers have them."""
    load, jump_if_equal, give = 0x20, 0x15, 0x06
    rules = [(load, 0, 0, 0), (jump_if_equal, 0, 1, ARCH_PRCTL), (give, 0, 0, SECCOMP_RET_ERRNO | EPERM)]
    program = b"".join(struct.pack("HBBI", *rule) for rule in [*rules, (give, 0, 0, SECCOMP_RET_ALLOW)])
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # no new privileges
    assert libc.prctl(22, 2, ctypes.create_string_buffer(header, len(header)), 0, 0) == 0, ctypes.get_errno()
