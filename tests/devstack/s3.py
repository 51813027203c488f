"""A signed S3 request with the standard library alone (AWS Signature Version 4, path style)."""

import dataclasses
import datetime
import hashlib
import hmac
import http.client
import urllib.parse


@dataclasses.dataclass(frozen=True)
class S3:
    """One server and one user of it."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"

    def env(self) -> dict[str, str]:
        """What EPUFS' programs and other S3 tools read from the environment."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_REGION": self.region,
        }

    def request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float = 30.0,
    ) -> tuple[int, bytes]:
        """Sends one request for /bucket or /bucket/key; returns the status and the body."""
        host = urllib.parse.urlsplit(self.endpoint).netloc
        path = urllib.parse.quote(path, safe="/-_.~")
        search = urllib.parse.urlencode(sorted((query or {}).items()), quote_via=urllib.parse.quote)
        headers = self.signed(method, host, path, search, hashlib.sha256(body).hexdigest())
        connection = http.client.HTTPConnection(host, timeout=timeout_s)
        try:
            connection.request(method, f"{path}?{search}" if search else path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def signed(
        self, method: str, host: str, path: str, search: str, body_hash: str
    ) -> dict[str, str]:
        """The headers of a request, for callers that keep their connection."""
        now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        headers = {"host": host, "x-amz-content-sha256": body_hash, "x-amz-date": now}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = "\n".join([method, path, search, lines, names, body_hash])
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, digest])
        signature = hmac.new(self._key(now[:8]), to_sign.encode(), hashlib.sha256).hexdigest()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return headers

    def _key(self, day: str) -> bytes:
        key = f"AWS4{self.secret_key}".encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return key
