"""An upload that reaches the store after its expiry: refused by the store, and said plainly."""

import concurrent.futures
import time

from devstack.process import wait_for
from devstack.rgw import Rgw
from devstack.s3 import S3
from harness import http
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.proxy import Proxy
from harness.stores import S3Store

FILE = "autoprewarm.blocks"


def test_an_upload_is_late_from_the_very_second_of_its_expiry(
    rgw: Rgw, launch: Launcher, keys, endpoint: Endpoint
):
    """The store's clock has whole seconds, so the last of them counts as late."""
    store = S3Store(rgw.s3, rgw.bucket, f"expiry-{endpoint.tenant}")
    token = endpoint.token(keys, gen=1)
    with Proxy(rgw.port) as proxy, concurrent.futures.ThreadPoolExecutor(1) as pool:
        behind = S3(proxy.url, rgw.s3.access_key, rgw.s3.secret_key)
        writer = launch.writer(
            S3Store(behind, rgw.bucket, store.prefix), "--upload-expiry=2s", "--upload-timeout=10s"
        )
        held = proxy.hold(b"X-Amz-Expires=2", "request")
        answer = pool.submit(http.put, writer.url, endpoint.file_url(FILE), token, b"late")
        held.wait()
        signed_at_s = int(time.time())
        wait_for(lambda: int(time.time()) >= signed_at_s + 2, 5, "the second of the expiry")
        proxy.resume()
        assert answer.result(30).status == 408
    assert store.listing() == {}
