"""Who may do what: tokens that are good, bad, or good for something else."""

import base64
import hashlib
import hmac
import json
import pathlib
import signal
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from devstack.epufs import Program, Reader, Writer
from devstack.keys import KeyPair
from devstack.process import wait_for
from harness import http
from harness.ids import Endpoint, hex32
from harness.launch import Launcher
from harness.stores import Store

NAME = "lfc_state"
RELOAD_TIMEOUT_S = 15.0


# Tokens have nothing to do with the kind of the store: a folder will do for all of this.
@pytest.fixture(scope="module")
def store(folder_store: Store) -> Store:
    return folder_store


@pytest.fixture
def kept(writer: Writer, endpoint: Endpoint, keys: KeyPair) -> Endpoint:
    """An endpoint with one file, which has to be there unchanged in the end."""
    token = endpoint.token(keys)
    assert http.put(writer.url, endpoint.file_url(NAME), token, b"kept").status == 200
    return endpoint


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return ".".join(b64(json.dumps(part).encode()) for part in (header, claims))


def claims_of(endpoint: Endpoint, **more: Any) -> dict[str, Any]:
    return {
        "tenant_id": endpoint.tenant,
        "timeline_id": endpoint.timeline,
        "endpoint_id": endpoint.name,
        "exp": int(time.time()) + 3600,
        **more,
    }


def refused(
    reader: Program,
    writer: Program,
    store: Store,
    kept: Endpoint,
    status: int,
    headers: dict[str, str],
) -> None:
    """Every request of this kind is refused, and changes nothing."""
    before = store.listing()
    for base, method, path, body in [
        (reader.url, "GET", kept.file_url(NAME), None),
        (reader.url, "GET", kept.url, None),
        (writer.url, "PUT", kept.file_url(NAME), b"changed"),
        (writer.url, "PUT", kept.file_url(NAME), b"changed" * 20_000),
        (writer.url, "DELETE", kept.file_url(NAME), None),
        (writer.url, "DELETE", kept.url, None),
        (writer.url, "DELETE", kept.timeline_url, None),
        (writer.url, "DELETE", kept.tenant_url, None),
    ]:
        answer = http.call(base, method, path, body=body, headers=headers)
        http.problem(answer, status)
        if status == 401:
            assert answer.header("WWW-Authenticate").startswith("Bearer")
    assert http.call(reader.url, "HEAD", kept.file_url(NAME), headers=headers).status == status
    assert store.listing() == before
    assert store.get(kept.key(NAME)) == b"kept"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer x"},
        {"Authorization": "Bearer a.b.c"},
        {"Authorization": "Bearer .."},
        {"Authorization": "Bearer " + "a" * 8000},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": "Token TOKEN"},
        {"Authorization": "Bearer TOKEN x"},
        {"Authorization": "Bearer TOKEN."},
        {"X-Authorization": "Bearer TOKEN"},
    ],
    ids=lambda headers: str(headers)[:40],
)
def test_no_token(
    reader: Reader,
    writer: Writer,
    store: Store,
    kept: Endpoint,
    keys: KeyPair,
    headers: dict[str, str],
) -> None:
    token = kept.token(keys)
    refused(
        reader, writer, store, kept, 401, {n: v.replace("TOKEN", token) for n, v in headers.items()}
    )


def _damaged(token: str) -> str:
    """One bit of the signature's first byte."""
    head, _, signature = token.rpartition(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[0] ^= 1
    return f"{head}.{b64(bytes(raw))}"


def _other_claims(token: str, endpoint: Endpoint) -> str:
    head, _, signature = token.split(".")
    return f"{head}.{b64(json.dumps(claims_of(endpoint, gen=9)).encode())}.{signature}"


def _hs256(endpoint: Endpoint, secret: bytes) -> str:
    """The public key as the secret of a MAC: who checks what the header says is fooled."""
    text = unsigned({"alg": "HS256", "typ": "JWT"}, claims_of(endpoint))
    return f"{text}.{b64(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def test_forged_tokens(
    reader: Reader, writer: Writer, store: Store, kept: Endpoint, keys: KeyPair
) -> None:
    good = kept.token(keys)
    raw_key = base64.urlsafe_b64decode(keys.jwk()["x"] + "==")
    forged = {
        "a signature with a flipped bit": _damaged(good),
        "no signature": good.rpartition(".")[0] + ".",
        "other claims": _other_claims(good, kept),
        "a stranger's key": kept.token(KeyPair.generate()),
        "a stranger's service token": KeyPair.generate().service_token(),
        "alg none": unsigned({"alg": "none"}, claims_of(kept)) + ".",
        "alg None": unsigned({"alg": "None"}, claims_of(kept)) + ".",
        "alg none, signed": keys.token(alg="none", **claims_of(kept)),
        "HS256 with the PEM": _hs256(kept, keys.public_pem()),
        "HS256 with the raw key": _hs256(kept, raw_key),
        "signed well, called HS256": keys.token(alg="HS256", **claims_of(kept)),
        "signed well, called RS256": keys.token(alg="RS256", **claims_of(kept)),
        "claims that are a list": _signed_text(keys, b"[1]"),
        "claims twice": _signed_text(keys, json.dumps(claims_of(kept)).encode() + b"{}"),
        "a claim twice": _signed_text(
            keys, json.dumps(claims_of(kept)).replace("{", '{"exp":1,', 1).encode()
        ),
    }
    for name, token in forged.items():
        try:
            refused(reader, writer, store, kept, 401, {"Authorization": f"Bearer {token}"})
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


def _signed_text(keys: KeyPair, payload: bytes) -> str:
    """A token of any payload. KeyPair signs claims only, so its key is taken out."""
    key = serialization.load_pem_private_key(keys.private_pem(), password=None)
    text = f"{b64(json.dumps({'alg': 'EdDSA'}).encode())}.{b64(payload)}"
    return f"{text}.{b64(key.sign(text.encode()))}"  # type: ignore[union-attr, call-arg]


def test_claims_that_are_not_in_order(
    reader: Reader, writer: Writer, store: Store, kept: Endpoint, keys: KeyPair
) -> None:
    now = int(time.time())
    bad: list[dict[str, Any]] = [
        {"exp": now - 3600},
        {"exp": None},
        {"exp": "soon"},
        {"exp": -1},
        {"nbf": now + 3600},
        {"iat": now + 3600},
        {"gen": 2**64},
        {"gen": -1},
        {"gen": 1.5},
        {"gen": "x"},
        {"tenant_id": None},
        {"tenant_id": "abc"},
        {"tenant_id": 7},
        {"timeline_id": None},
        {"endpoint_id": "a/b"},
        {"endpoint_id": ""},
        {"scope": 7},
    ]
    for change in bad:
        token = keys.token(**claims_of(kept) | change)
        try:
            refused(reader, writer, store, kept, 401, {"Authorization": f"Bearer {token}"})
        except AssertionError as error:
            raise AssertionError(f"{change}: {error}") from error


def test_tokens_of_somebody_else(
    reader: Reader, writer: Writer, store: Store, kept: Endpoint, keys: KeyPair
) -> None:
    others = [
        Endpoint(hex32(), kept.timeline, kept.name),
        Endpoint(kept.tenant, hex32(), kept.name),
        kept.sibling("ep-10"),
        kept.sibling("ep-"),
        kept.sibling("EP-1"),
    ]
    tokens = [other.token(keys) for other in others]
    tokens.append(keys.prefix_token(hex32()))
    tokens.append(keys.prefix_token(kept.tenant, hex32()))
    tokens.append(keys.token(tenant_id=hex32(), scope="epufs:admins epufs"))
    for token in tokens:
        refused(reader, writer, store, kept, 403, {"Authorization": f"Bearer {token}"})


def test_a_prefix_token_deletes_its_prefix_and_touches_no_file(
    reader: Reader, writer: Writer, store: Store, kept: Endpoint, keys: KeyPair
) -> None:
    timeline = keys.prefix_token(kept.tenant, kept.timeline)
    tenant = keys.prefix_token(kept.tenant)
    for token, exact in ((timeline, kept.timeline_url), (tenant, kept.tenant_url)):
        for method, base in (("GET", reader.url), ("PUT", writer.url), ("DELETE", writer.url)):
            http.problem(http.call(base, method, kept.file_url(NAME), token=token), 403)
        scopes = {kept.url, kept.timeline_url, kept.tenant_url} - {exact}
        for scope in scopes:
            http.problem(http.delete(writer.url, scope, token), 403)
        http.problem(http.get(reader.url, kept.url, token), 403)
        assert store.get(kept.key(NAME)) == b"kept"
    assert http.delete(writer.url, kept.timeline_url, timeline).json()["deleted"]["files"] == 1
    assert store.listing(kept.tenant_prefix) == {}


def test_an_endpoint_token_deletes_no_more_than_its_endpoint(
    writer: Writer, store: Store, kept: Endpoint, keys: KeyPair
) -> None:
    token = kept.token(keys, 3)
    for scope in (kept.timeline_url, kept.tenant_url):
        http.problem(http.delete(writer.url, scope, token), 403)
    assert store.get(kept.key(NAME)) == b"kept"


def test_a_service_token_is_good_for_everybody(
    reader: Reader, writer: Writer, store: Store, kept: Endpoint, keys: KeyPair
) -> None:
    service = keys.service_token()
    file = kept.file_url(NAME)
    assert http.get(reader.url, file, service).body == b"kept"
    assert http.put(writer.url, f"{file}?gen=7", service, b"seven").status == 200
    assert http.get(reader.url, f"{file}?gen=7", service).body == b"seven"
    assert http.get(reader.url, file, kept.token(keys, 7)).body == b"seven"
    listed = http.get(
        reader.url, f"{kept.url}?gen=7", service, headers={"Accept": "application/json"}
    )
    assert [found["size"] for found in listed.json()["files"]] == [5]
    assert http.delete(writer.url, f"{file}?gen=7", service).status == 200
    assert store.listing(kept.prefix) == {kept.key(NAME): 4}
    several = keys.token(scope="openid epufs:admin more")
    assert http.get(reader.url, file, several).body == b"kept"


@pytest.mark.parametrize(
    "query", ["gen=x", "gen=", "gen=-1", "gen=1&gen=1", f"gen={2**64}", "gen=1.0", "gen=0x1"]
)
def test_a_generation_that_is_none(
    reader: Reader, writer: Writer, store: Store, kept: Endpoint, keys: KeyPair, query: str
) -> None:
    service = keys.service_token()
    url = f"{kept.file_url(NAME)}?{query}"
    http.problem(http.get(reader.url, url, service), 400)
    http.problem(http.put(writer.url, url, service, b"x"), 400)
    http.problem(http.delete(writer.url, url, service), 400)
    upto = query.replace("gen", "upto_gen")
    http.problem(http.delete(writer.url, f"{kept.url}?{upto}", service), 400)
    assert store.listing(kept.tenant_prefix) == {kept.key(NAME): 4}


def test_only_a_service_token_names_the_generation(
    writer: Writer, store: Store, kept: Endpoint, keys: KeyPair
) -> None:
    """An endpoint's own token has its generation; the query does not change it."""
    url = f"{kept.file_url(NAME)}?gen=7"
    assert http.put(writer.url, url, kept.token(keys, 1), b"one").status == 200
    assert set(store.listing(kept.prefix)) == {kept.key(NAME), kept.key(NAME, 1)}


# ---- Keys ----


def _es256(endpoint: Endpoint, key: ec.EllipticCurvePrivateKey) -> str:
    text = unsigned({"alg": "ES256"}, claims_of(endpoint))
    r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _rs256(endpoint: Endpoint, key: rsa.RSAPrivateKey) -> str:
    text = unsigned({"alg": "RS256"}, claims_of(endpoint))
    return f"{text}.{b64(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _save_public(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, file: pathlib.Path) -> None:
    file.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def test_all_kinds_of_keys(
    launch: Launcher, store: Store, kept: Endpoint, tmp_path: pathlib.Path
) -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1())
    old = rsa.generate_private_key(65537, 2048)
    named = [KeyPair.generate("first"), KeyPair.generate("second")]
    _save_public(elliptic, tmp_path / "ec.pem")
    _save_public(old, tmp_path / "rsa.pem")
    (tmp_path / "set.jwks").write_text(json.dumps({"keys": [pair.jwk() for pair in named]}))
    files = [tmp_path / "ec.pem", tmp_path / "rsa.pem", tmp_path / "set.jwks"]
    reader = launch.reader(store, token_keys=files)
    good = [
        _es256(kept, elliptic),
        _rs256(kept, old),
        kept.token(named[0]),
        kept.token(named[1]),
        named[1].token(alg="Ed25519", **claims_of(kept)),
    ]
    for token in good:
        assert http.get(reader.url, kept.file_url(NAME), token).body == b"kept"
    crossed = KeyPair.load(named[0].save(tmp_path)[0], kid="second")
    unknown = KeyPair.load(named[0].save(tmp_path)[0], kid="third")
    for token in (kept.token(crossed), kept.token(unknown)):
        http.problem(http.get(reader.url, kept.file_url(NAME), token), 401)


def test_audience_and_issuer(launch: Launcher, store: Store, kept: Endpoint, keys: KeyPair) -> None:
    reader = launch.reader(store, "--token-audience=epufs", "--token-issuer=plane")
    right = {"aud": "epufs", "iss": "plane"}
    cases: list[tuple[dict[str, Any], int]] = [
        (right, 200),
        (right | {"aud": ["other", "epufs"]}, 200),
        (right | {"aud": "other"}, 401),
        (right | {"aud": ["other"]}, 401),
        (right | {"iss": "other"}, 401),
        ({"iss": "plane"}, 401),
        ({"aud": "epufs"}, 401),
    ]
    for claims, status in cases:
        token = kept.token(keys) if not claims else keys.token(**claims_of(kept) | claims)
        assert http.get(reader.url, kept.file_url(NAME), token).status == status, claims


def _reload(program: Program, until: str) -> None:
    """SIGHUP, and until the log has one more such line."""

    def lines() -> int:
        return program.process.log.read_text(encoding="utf-8").count(until)

    before = lines()
    program.process.signal(signal.SIGHUP)
    wait_for(lambda: lines() > before, RELOAD_TIMEOUT_S, until, log=program.process.log)


def test_keys_change_without_a_restart(
    launch: Launcher, store: Store, kept: Endpoint, keys: KeyPair, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "trusted"
    folder.mkdir()
    (folder / "first.pem").write_bytes(keys.public_pem())
    fresh = KeyPair.generate()
    reader = launch.reader(store, token_keys=[folder])

    def status(pair: KeyPair) -> int:
        return http.get(reader.url, kept.file_url(NAME), kept.token(pair)).status

    def statuses() -> tuple[int, int]:
        return status(keys), status(fresh)

    assert statuses() == (200, 401)
    (folder / "second.pem").write_bytes(fresh.public_pem())
    _reload(reader, "reloaded")
    assert statuses() == (200, 200)
    (folder / "first.pem").unlink()
    _reload(reader, "reloaded")
    assert statuses() == (401, 200)
    (folder / "broken.pem").write_text("-----BEGIN PUBLIC KEY-----\nbroken\n")
    _reload(reader, "reload refused")
    assert statuses() == (401, 200)
    for file in folder.iterdir():
        file.unlink()
    _reload(reader, "reload refused")
    assert statuses() == (401, 200)


# ---- Logs ----


def test_tokens_reach_no_log(
    launch: Launcher, store: Store, endpoint: Endpoint, keys: KeyPair
) -> None:
    """Not good ones, not bad ones, and not from where no token belongs."""
    options = ["--log-level=debug", "--log-format=json"]
    programs: list[Program] = [launch.reader(store, *options), launch.writer(store, *options)]
    tokens = [
        endpoint.token(keys),
        keys.service_token(),
        endpoint.token(KeyPair.generate()),
        keys.token(expires_in_s=-3600, **{"tenant_id": endpoint.tenant}),
        _damaged(endpoint.token(keys)),
        "not-a-token-but-a-secret",
    ]
    for program in programs:
        for token in tokens:
            for method in ("GET", "PUT", "DELETE"):
                url = endpoint.file_url(NAME)
                http.call(program.url, method, url, token=token, body=b"x")
                http.call(program.url, method, f"{url}?token={token}", token=token, body=b"x")
                http.call(program.url, method, f"{url}?gen={token}", token=token, body=b"x")
                http.call(program.url, method, url, headers={"Authorization": token})
                http.call(program.url, method, url, headers={"Authorization": f"Basic {token}"})
    for program in programs:
        launch.stop(program)
        log = program.process.log.read_text(encoding="utf-8")
        assert log.count('"status":401') >= 10  # so it does tell of these requests
        for token in tokens:
            for part in token.split("."):
                assert part not in log
