"""Trouble on the way to the servers that the tests share."""

from collections.abc import Iterator

import pytest

from devstack.rgw import Rgw
from harness.proxy import Proxy


@pytest.fixture
def rgw_proxy(rgw: Rgw) -> Iterator[Proxy]:
    """Ask for it before `launch`: programs are to end while their store still answers."""
    with Proxy(rgw.port) as proxy:
        yield proxy
