"""A network of one's own, in which there is nothing but the loopback address.

TensorFlow's servers take orders from anybody, and listen on all addresses of a machine whatever
address `TF_CONFIG` names (tensorflow/tensorflow#11689). Linux can give a command a network that
nobody else can reach.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence

ENTERED = "BN_TUTORIAL_PRIVATE_NETWORK"
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1  # Linux: <linux/sockios.h>, <linux/if.h>
# As root, and as anybody where the system lets users make namespaces.
WAYS = (("unshare", "--net"), ("unshare", "--user", "--map-root-user", "--net"))


def available() -> tuple[str, ...] | None:
    """The command that starts another in a network of its own; None where there is none."""
    if not sys.platform.startswith("linux") or shutil.which("unshare") is None:
        return None
    for way in WAYS:
        if subprocess.run([*way, "true"], capture_output=True, check=False).returncode == 0:
            return way
    return None


def enter(command: Sequence[str]) -> bool:
    """Be in a network of one's own: starts `command`, the present one, in it if need be.

    Returns:
        True inside. False where the system does not allow it.
    """
    if os.environ.get(ENTERED):
        _raise_loopback()
        return True
    way = available()
    if way is None:
        return False
    os.environ[ENTERED] = "1"
    sys.stdout.flush()
    os.execvp(way[0], [*way, *command])  # the process stays the same, so signals still reach it
    raise AssertionError("unreachable: execvp does not return")


def _raise_loopback() -> None:
    """A new network's loopback device is down."""
    import fcntl  # Linux has it; Windows has not, and never comes here

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
