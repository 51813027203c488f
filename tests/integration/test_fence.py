"""What the writer does when nobody can tell whether something was deleted."""

import pytest

from devstack.epufs import Writer
from devstack.keys import KeyPair
from harness import http
from harness.ids import Endpoint
from harness.stores import Store

NAME = "lfc_state"
GEN = 3
STREAMED = 100_000  # beyond 64 KiB a body is streamed to the store, not collected


@pytest.mark.parametrize("size", [1, STREAMED])
def test_nothing_is_stored_behind_a_tombstone_that_cannot_be_read(
    writer: Writer, store: Store, endpoint: Endpoint, keys: KeyPair, size: int
) -> None:
    token = endpoint.token(keys, GEN)
    store.put_many([garbled(endpoint)])
    http.problem(http.put(writer.url, endpoint.file_url(NAME), token, b"x" * size), 502)
    assert store.listing(endpoint.prefix) == {}
    assert store.leftovers() == []


def garbled(endpoint: Endpoint) -> str:
    """Where a tombstone lies, but with a name that tells no generation."""
    return endpoint.tombstone(GEN)[:-16] + "0-garbled"
