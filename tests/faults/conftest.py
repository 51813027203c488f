"""Trouble on the way to the servers that the tests share."""

import contextlib
from collections.abc import Iterator

import pytest

from devstack.rgw import Rgw
from harness.proxy import Proxy


@pytest.fixture
def rgw_proxy(rgw: Rgw) -> Iterator[Proxy]:
    """Ask for it before `launch`: programs are to end while their store still answers."""
    with Proxy(rgw.port) as proxy:
        yield proxy


@pytest.fixture
def rgw_proxies(rgw: Rgw) -> Iterator[list[Proxy]]:
    """Three of them, for as many writers."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Proxy(rgw.port)) for _ in range(3)]
