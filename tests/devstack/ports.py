"""Free TCP ports on 127.0.0.1.

Ports come from below the range that the kernel hands to outgoing connections, so no client socket
takes one between our check and the server's bind. Against other test runs on the machine, a port
is claimed by an abstract Unix socket of its name, which the kernel drops with our process.
"""

import collections
import pathlib
import random
import socket

LOWEST = 10240
HIGHEST = 32767
ATTEMPTS = 500

# A server binds its port soon after the claim; only the youngest claims still matter.
_MAX_CLAIMS = 256
_claims: collections.deque[socket.socket] = collections.deque()


def _highest() -> int:
    """The last port below the kernel's own range, if that leaves enough of them."""
    text = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
    ephemeral = int(text.split()[0]) - 1
    return min(ephemeral, HIGHEST) if ephemeral > LOWEST + 1000 else HIGHEST


def _bindable(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _claim(port: int) -> bool:
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claim.bind(f"\0epufs-devstack-port-{port}")
    except OSError:
        claim.close()
        return False
    if not _bindable(port):
        claim.close()
        return False
    if len(_claims) == _MAX_CLAIMS:
        _claims.popleft().close()
    _claims.append(claim)
    return True


def free_block(count: int) -> int:
    """The first of `count` consecutive free ports."""
    highest = _highest()
    for _ in range(ATTEMPTS):
        first = random.randint(LOWEST, highest - count + 1)
        if all(_claim(port) for port in range(first, first + count)):
            return first
    raise OSError(f"no {count} free ports in a row between {LOWEST} and {highest}")


def free_port() -> int:
    return free_block(1)
