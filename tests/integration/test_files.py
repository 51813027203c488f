"""One file through writer and reader: what goes in, what comes out, and what is refused."""

import concurrent.futures
import email.utils
import secrets

import pytest

from devstack.epufs import Reader, Writer
from devstack.keys import KeyPair
from harness import http
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import Store

NAME = "autoprewarm.blocks"
STREAMED = 100_000  # beyond 64 KiB a body is streamed to the store, not collected
HUGE = (100 << 20) + 1


class Files:
    """One endpoint's files, by one token."""

    def __init__(
        self, reader: Reader, writer: Writer, store: Store, endpoint: Endpoint, token: str
    ) -> None:
        self.reader = reader.url
        self.writer = writer.url
        self.store = store
        self.endpoint = endpoint
        self.token = token

    def put(self, body: bytes, path: str = NAME, **headers: str) -> http.Answer:
        return self._call(self.writer, "PUT", path, headers, body)

    def stored(self, body: bytes, path: str = NAME) -> str:
        """Puts, has to succeed, and returns the version."""
        answer = self.put(body, path)
        assert answer.status == 200, answer
        assert answer.json()["size"] == len(body)
        return str(answer.json()["version"])

    def get(self, path: str = NAME, **headers: str) -> http.Answer:
        return self._call(self.reader, "GET", path, headers)

    def head(self, path: str = NAME, **headers: str) -> http.Answer:
        return self._call(self.reader, "HEAD", path, headers)

    def delete(self, path: str = NAME) -> http.Answer:
        return self._call(self.writer, "DELETE", path, {})

    def call(self, base: str, method: str, path: str = NAME, body: bytes = b"") -> http.Answer:
        return self._call(base, method, path, {}, body)

    def _call(
        self, base: str, method: str, path: str, headers: dict[str, str], body: bytes | None = None
    ) -> http.Answer:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        url = self.endpoint.file_url(path)
        return http.call(base, method, url, token=self.token, body=body, headers=fields)

    def listing(self) -> dict[str, int]:
        """The tenant's objects, seen past our programs."""
        return self.store.listing(self.endpoint.tenant_prefix)


@pytest.fixture
def files(reader: Reader, writer: Writer, store: Store, endpoint: Endpoint, keys: KeyPair) -> Files:
    return Files(reader, writer, store, endpoint, endpoint.token(keys))


# ---- There and back ----


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 131073, (1 << 20) + 3])
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_the_same_bytes_come_back(files: Files, method: str, size: int) -> None:
    body = secrets.token_bytes(size)
    put = files.call(files.writer, method, body=body)
    assert put.status == 200
    assert put.header("Content-Type") == "application/json"
    assert put.json() == {"version": put.header("ETag").strip('"'), "size": size}
    got, head = files.get(), files.head()
    assert (got.status, got.body) == (200, body)
    assert (head.status, head.body) == (200, b"")
    for answer in (got, head):
        assert answer.header("ETag") == put.header("ETag")
        assert answer.header("Content-Length") == str(size)
        assert answer.header("Accept-Ranges") == "bytes"
        age = email.utils.parsedate_to_datetime(
            answer.header("Date")
        ) - email.utils.parsedate_to_datetime(answer.header("Last-Modified"))
        assert -5 <= age.total_seconds() <= 60
    assert files.listing() == {files.endpoint.key(NAME): size}
    assert files.store.get(files.endpoint.key(NAME)) == body


def test_an_overwrite_changes_the_version_and_the_bytes(files: Files) -> None:
    versions = [files.stored(body) for body in (b"one", b"two", b"2" * STREAMED, b"")]
    assert len(set(versions)) == len(versions)
    assert files.get().body == b""
    assert files.listing() == {files.endpoint.key(NAME): 0}


@pytest.mark.parametrize(
    ("escaped", "path"),
    [
        ("pg_stat/a%20b.stat", "pg_stat/a b.stat"),
        ("pg_stat/%C3%BC%E2%82%AC.stat", "pg_stat/ü€.stat"),
        ("pg_stat/100%25.stat", "pg_stat/100%.stat"),
        ("pg_stat/a+b&c=d;e,f.stat", "pg_stat/a+b&c=d;e,f.stat"),
        ("pg_stat/%3F%23%5B%5D%22%3C%27%60.stat", "pg_stat/?#[]\"<'`.stat"),
        ("pg_stat/..x.json", None),  # a pattern's * takes no leading period
        ("pg_stat/x..stat", "pg_stat/x..stat"),
        ("pg_stat/x%25o.stat", "pg_stat/x%o.stat"),
        ("pg_stat/" + "n" * 499 + ".stat", "pg_stat/" + "n" * 499 + ".stat"),
        ("%6Cfc_stat%65", "lfc_state"),
    ],
)
def test_odd_names(files: Files, escaped: str, path: str | None) -> None:
    if path is None:
        http.problem(files.put(b"odd", escaped), 422)
        assert files.listing() == {}
        return
    files.stored(b"odd", escaped)
    assert files.listing() == {files.endpoint.key(path): 3}
    assert files.get(escaped).body == b"odd"
    assert files.delete(escaped).status == 200
    assert files.listing() == {}


def test_ids_are_the_same_in_either_case(files: Files) -> None:
    files.stored(b"x")
    loud = Endpoint(files.endpoint.tenant.upper(), files.endpoint.timeline.upper())
    assert http.get(files.reader, loud.file_url(NAME), files.token).body == b"x"
    assert http.put(files.writer, loud.file_url(NAME), files.token, b"y").status == 200
    assert files.get().body == b"y"
    assert list(files.listing()) == [files.endpoint.key(NAME)]


def test_delete_is_idempotent(files: Files) -> None:
    files.stored(b"x")
    files.stored(b"y", "lfc_state")
    for _ in range(3):
        assert files.delete().status == 200
        http.problem(files.get(), 404)
    assert files.head().status == 404
    assert files.listing() == {files.endpoint.key("lfc_state"): 1}
    files.stored(b"z")
    assert files.get().body == b"z"


def test_generations_are_kept_apart(files: Files, keys: KeyPair) -> None:
    gens = [None, 1, 2, 2**64 - 1]
    for gen in gens:
        files.token = files.endpoint.token(keys, gen)
        http.problem(files.get(), 404)
        files.stored(f"of {gen}".encode())
    for gen in gens:
        files.token = files.endpoint.token(keys, gen)
        assert files.get().body == f"of {gen}".encode()
    assert set(files.listing()) == {files.endpoint.key(NAME, gen or 0) for gen in gens}
    files.token = files.endpoint.token(keys, 1)
    assert files.delete().status == 200
    http.problem(files.get(), 404)
    files.token = files.endpoint.token(keys, 2)
    assert files.get().body == b"of 2"


# ---- Conditions ----


def test_reads_with_conditions(files: Files) -> None:
    tag = f'"{files.stored(b"body")}"'
    modified = files.head().header("Last-Modified")
    past = "Sat, 01 Jan 2000 00:00:00 GMT"
    cases = [
        ({"If_None_Match": tag}, 304),
        ({"If_None_Match": f"W/{tag}"}, 304),
        ({"If_None_Match": f'"other", {tag}'}, 304),
        ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": '"other"'}, 200),
        ({"If_Modified_Since": modified}, 304),
        ({"If_Modified_Since": past}, 200),
        ({"If_Modified_Since": modified, "If_None_Match": '"other"'}, 200),
        ({"If_Match": tag}, 200),
        ({"If_Match": '"other"'}, 412),
        ({"If_Unmodified_Since": modified}, 200),
        ({"If_Unmodified_Since": past}, 412),
    ]
    for headers, status in cases:
        got, head = files.get(**headers), files.head(**headers)
        assert (got.status, head.status) == (status, status), headers
        assert head.body == b""
        if status == 304:
            assert got.body == b""
            for answer in (got, head):
                assert answer.header("ETag") == tag
                assert answer.header("Last-Modified") == modified
                # Of what a 200 would bring; a 0 would be a lie that caches believe.
                assert answer.headers["Content-Length"] in (None, "4")
        elif status == 412:
            http.problem(got, 412)
        else:
            assert got.body == b"body"


def test_ranges(files: Files) -> None:
    body = secrets.token_bytes(256_000)
    tag = f'"{files.stored(body)}"'
    size = len(body)
    cases = [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=1000-", 1000, size - 1),
        (f"bytes={size - 1}-", size - 1, size - 1),
        ("bytes=-5", size - 5, size - 1),
        (f"bytes=-{size + 5}", 0, size - 1),
        (f"bytes=100-{size + 100}", 100, size - 1),
    ]
    for value, first, last in cases:
        for more in ({}, {"If_Range": tag}, {"If_Match": tag}):
            got = files.get(Range=value, **more)
            assert (got.status, got.body == body[first : last + 1]) == (206, True), value
            assert got.header("Content-Length") == str(last - first + 1)
            assert got.header("Content-Range") == f"bytes {first}-{last}/{size}"
    whole = [
        {"Range": "bytes=0-9", "If_Range": '"other"'},
        {"Range": "bytes=0-9", "If_Range": "Sat, 01 Jan 2000 00:00:00 GMT"},
        {"Range": "bytes=9-0"},
        {"Range": "lines=1-2"},
        {"Range": "bytes=0-1,5-6"},
    ]
    for headers in whole:
        got = files.get(**headers)
        assert (got.status, got.body == body) == (200, True), headers
    for value in (f"bytes={size}-", f"bytes={size}-{size + 5}", "bytes=-0"):
        http.problem(files.get(Range=value), 416)
    assert files.get(Range="bytes=0-9", If_None_Match=tag).status == 304


def test_an_upload_that_must_not_replace(files: Files) -> None:
    assert files.put(b"1", If_None_Match="*").status == 200
    for body in (b"2", b"2" * STREAMED):
        http.problem(files.put(body, If_None_Match="*"), 412)
        assert files.get().body == b"1"
    assert files.store.leftovers() == []


def test_one_of_many_such_uploads_wins(files: Files) -> None:
    bodies = [bytes([n]) * 1000 for n in range(8)]
    with concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
        answers = list(pool.map(lambda body: files.put(body, If_None_Match="*"), bodies))
    assert sorted(answer.status for answer in answers) == [200] + [412] * 7
    (winner,) = (body for body, answer in zip(bodies, answers, strict=True) if answer.status == 200)
    assert files.get().body == winner


def test_an_upload_for_another_version_is_refused(files: Files) -> None:
    files.stored(b"1")
    for body in (b"2", b"2" * STREAMED):
        http.problem(files.put(body, If_Match='"0123456789abcdef0123456789abcdef"'), 412)
    http.problem(files.put(b"3", "lfc_state", If_Match='"0123"'), 412)
    assert files.get().body == b"1"
    assert files.listing() == {files.endpoint.key(NAME): 1}
    assert files.store.leftovers() == []


def test_an_upload_for_the_version_that_is_there(files: Files) -> None:
    version = files.stored(b"1")
    answer = files.put(b"2", If_Match=f'"{version}"')
    assert answer.status == 200
    http.problem(files.put(b"3", If_Match=f'"{version}"'), 412)
    assert files.get().body == b"2"


@pytest.mark.parametrize(
    "headers",
    [
        {"If_None_Match": '"0123"'},
        {"If_Match": "*"},
        {"If_Match": 'W/"0123"'},
        {"If_Match": '"01", "23"'},
        {"If_Match": "0123"},
        {"If_Match": '"0123"', "If_None_Match": "*"},
    ],
)
def test_conditions_that_no_store_can_check(files: Files, headers: dict[str, str]) -> None:
    http.problem(files.put(b"x", **headers), 400)
    assert files.listing() == {}


# ---- Refusals: nothing of them is stored ----


@pytest.mark.parametrize(
    "path",
    ["pg_hba.conf", "base/1/1259", "pg_stat/a/b.stat", "PG_VERSION", "LFC_STATE", "lfc_state/x"],
)
def test_unknown_files(files: Files, path: str) -> None:
    http.problem(files.put(b"x", path), 422)
    http.problem(files.put(b"x" * STREAMED, path), 422)
    http.problem(files.get(path), 404)
    assert files.listing() == {}


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH", "OPTIONS"])
def test_the_reader_changes_nothing(files: Files, method: str) -> None:
    files.stored(b"x")
    answer = files.call(files.reader, method)
    http.problem(answer, 405)
    assert answer.header("Allow") == "GET, HEAD"
    assert files.get().body == b"x"


@pytest.mark.parametrize("method", ["GET", "PATCH", "OPTIONS"])
def test_methods_that_the_writer_does_not_know(files: Files, method: str) -> None:
    answer = files.call(files.writer, method)
    http.problem(answer, 405)
    assert answer.header("Allow") == "PUT, POST, DELETE"
    scope = http.call(files.writer, method, files.endpoint.url, token=files.token)
    http.problem(scope, 405)
    assert scope.header("Allow") == "DELETE"


def test_a_body_of_unknown_length(files: Files) -> None:
    answer = http.call(
        files.writer,
        "PUT",
        files.endpoint.file_url(NAME),
        token=files.token,
        body=iter([b"some", b"bytes"]),
        headers={"Transfer-Encoding": "chunked"},
    )
    http.problem(answer, 411)
    assert files.listing() == {}


def test_a_body_that_is_too_large(files: Files) -> None:
    """The head is enough for the refusal: nothing of the body is waited for."""
    answer = http.call(
        files.writer,
        "PUT",
        files.endpoint.file_url(NAME),
        token=files.token,
        headers={"Content-Length": str(HUGE), "Expect": "100-continue"},
    )
    assert str(HUGE) in http.problem(answer, 413)
    assert files.listing() == {}


def test_limits_by_pattern(launch: Launcher, files: Files) -> None:
    """A pattern's own limit wins over the general one, in both directions."""
    options = ["--file-max-bytes=10", "--known-files=small,big=20,odd/*.x"]
    files.writer = launch.writer(files.store, *options).url
    sizes = [("small", 10), ("big", 20), ("odd/a.x", 10)]
    for path, most in sizes:
        files.stored(b"x" * most, path)
        http.problem(files.put(b"y" * (most + 1), path), 413)
        assert files.get(path).body == b"x" * most
    http.problem(files.put(b"", NAME), 422)
    assert len(files.listing()) == len(sizes)


@pytest.mark.parametrize("given", ["abc-123.X_y", "a" * 63])
def test_a_request_id_is_passed_on(files: Files, given: str) -> None:
    answer = files.get(X_Request_Id=given)
    http.problem(answer, 404)
    assert answer.header("X-Request-Id") == given
    assert files.put(b"x", X_Request_Id=given).header("X-Request-Id") == given
    assert files.get(X_Request_Id=given).header("X-Request-Id") == given


@pytest.mark.parametrize("given", ["", "two words", "a" * 64, "a;b", "ü"])
def test_a_request_id_that_is_none_is_replaced(files: Files, given: str) -> None:
    ids = {files.get(X_Request_Id=given).header("X-Request-Id") for _ in range(3)}
    assert len(ids) == 3
    assert given not in ids
