"""storectl, from outside, on a folder and on Ceph RGW."""

import json
import os
import pathlib
import pty
import random
import secrets
import select
import signal
import subprocess
import time
import urllib.parse
from collections.abc import Iterator

import pytest

from harness.proxy import Proxy
from harness.storectl import Storectl
from harness.stores import FolderStore, S3Store, Store, numbered

MIB = 1 << 20


@pytest.fixture
def ctl(store: Store) -> Storectl:
    return Storectl(store)


@pytest.fixture
def proxied(s3_store: S3Store) -> Iterator[tuple[Proxy, Storectl]]:
    """The S3 store, seen through a proxy that can stall."""
    port = urllib.parse.urlsplit(s3_store.s3.endpoint).port
    assert port
    with Proxy(port) as proxy:
        yield proxy, Storectl(s3_store, AWS_ENDPOINT_URL_S3=proxy.url)


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def tree_of(folder: pathlib.Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def plant(folder: pathlib.Path, files: dict[str, bytes]) -> None:
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)


# ---- One object ----


@pytest.mark.parametrize("size", [0, 5, 3 * MIB])
def test_an_object_comes_back_as_it_went(
    ctl: Storectl, store: Store, tmp_path: pathlib.Path, size: int
) -> None:
    body, there, back = noise(size), tmp_path / "there", tmp_path / "back"
    there.write_bytes(body)
    ctl.ok("cp", str(there), f":one/{size}")
    ctl.ok("cp", f":one/{size}", str(back))
    assert back.read_bytes() == body == store.get(f"one/{size}")
    ctl.ok("cp", "-", f":piped/{size}", data=body)
    assert ctl.ok("cp", f":piped/{size}", "-").out == body
    assert ctl.ok("cat", f":one/{size}", f":piped/{size}").out == body + body


def test_a_target_that_is_a_folder(ctl: Storectl, store: Store, tmp_path: pathlib.Path) -> None:
    plant(tmp_path, {"name": b"text"})
    ctl.ok("cp", str(tmp_path / "name"), ":into/")
    assert store.get("into/name") == b"text"
    (tmp_path / "folder").mkdir()
    ctl.ok("cp", ":into/name", str(tmp_path / "folder"))
    assert (tmp_path / "folder/name").read_bytes() == b"text"
    ctl.ok("cp", ":into/name", ":into/deeper/")
    assert store.get("into/deeper/name") == b"text"


def test_a_range(ctl: Storectl, store: Store) -> None:
    store.put("range", b"0123456789")
    assert ctl.ok("cat", "--offset", "2", "--length", "3", ":range").out == b"234"
    assert ctl.ok("cat", "--offset", "7", ":range").out == b"789"
    assert ctl("cat", "--offset", "10", ":range").status == 1


def test_what_is_told_of_an_object(ctl: Storectl) -> None:
    options = ["--content-type", "text/plain", "--meta", "color=green", "--meta", "n=1"]
    (copied,) = ctl.ok("cp", "--json", *options, "-", ":stat", data=b"hello").objects()
    (told,) = ctl.ok("stat", "--json", ":stat").objects()
    assert copied == {"from": "-", "to": "stat", "bytes": 5, "etag": told["etag"]}
    assert (told["key"], told["size"], told["content_type"]) == ("stat", 5, "text/plain")
    assert told["meta"] == {"color": "green", "n": "1"}
    assert told["modified"].endswith("Z")
    text = ctl.ok("stat", ":stat").lines()
    assert "size: 5" in text and "meta color: green" in text


def test_creating_only(ctl: Storectl, store: Store) -> None:
    ctl.ok("cp", "--if-absent", "-", ":create", data=b"first")
    refused = ctl("cp", "--json", "--if-absent", "-", ":create", data=b"second")
    assert (refused.status, refused.error()["error"]) == (1, "precondition")
    assert store.get("create") == b"first"


def test_replacing_only(ctl: Storectl, store: Store) -> None:
    store.put("replace", b"first")
    etag = ctl.ok("stat", "--json", ":replace").objects()[0]["etag"]
    assert ctl("cp", "--if-match", "other", "-", ":replace", data=b"second").status == 1
    assert store.get("replace") == b"first"
    ctl.ok("cp", "--if-match", etag, "-", ":replace", data=b"third")
    assert store.get("replace") == b"third"


def test_compressed(ctl: Storectl) -> None:
    body = b"again and again. " * 10_000
    ctl.ok("cp", "--compress", "-", ":zip", data=body)
    (told,) = ctl.ok("stat", "--json", ":zip").objects()
    assert told["size"] == len(body) and told["stored_size"] < len(body) / 10
    assert ctl.ok("cat", ":zip").out == body
    # What a copy within the store keeps, and one that goes through us may change.
    ctl.ok("cp", ":zip", ":zip-copy")
    ctl.ok("cp", "--content-type", "text/plain", ":zip", ":unzipped")
    sizes = [o["stored_size"] for o in ctl.ok("stat", "--json", ":zip-copy", ":unzipped").objects()]
    assert sizes == [told["stored_size"], len(body)]


def test_from_store_to_store(store: Store, ctl: Storectl, tmp_path: pathlib.Path) -> None:
    body, other = noise(9 * MIB), f"file://{tmp_path}/other"
    ctl.ok("cp", "--content-type", "image/x", "--meta", "a=b", "-", ":src/big", data=body)
    store.put("src/small", b"s")
    ctl.ok("cp", ":src/big", f"{other}//big")
    ctl.ok("cp", "-r", ":src", f"{other}//tree")
    names = [o["key"] for o in ctl.ok("ls", "-r", "--json", other).objects()]
    assert names == ["big", "tree/big", "tree/small"]
    (told,) = ctl.ok("stat", "--json", f"{other}//tree/big").objects()
    assert (told["content_type"], told["meta"]) == ("image/x", {"a": "b"})
    ctl.ok("cp", f"{other}//big", ":back")
    assert ctl.ok("cat", ":back").out == body


# ---- Trees ----

TREE = {
    "a": b"1",
    "a.d/b": b"22",
    "a.d/empty": b"",
    "deep/er/and/deeper/file": noise(2 * MIB),
    "umläut %o": b"odd name",
    "new\nline": b"odder name",
}


@pytest.mark.parametrize("parallel", ["1", "8"])
def test_a_tree_there_and_back(ctl: Storectl, tmp_path: pathlib.Path, parallel: str) -> None:
    plant(tmp_path / "in", TREE)
    prefix = f":tree-{parallel}"
    up = ctl.ok("cp", "-r", "--json", "--parallel", parallel, str(tmp_path / "in"), prefix)
    *each, total = up.objects()
    assert (total["objects"], total["skipped"], total["failed"]) == (len(TREE), 0, 0)
    assert total["bytes"] == sum(map(len, TREE.values()))
    assert sorted(one["from"] for one in each) == sorted(TREE)
    ctl.ok("cp", "-r", "--parallel", parallel, f"{prefix}/", str(tmp_path / "out"))
    assert tree_of(tmp_path / "out") == TREE
    # Once more over what is there, and what is there already is left alone.
    ctl.ok("cp", "-r", prefix, str(tmp_path / "out"))
    again = ctl.ok("cp", "-r", "--json", "--if-absent", str(tmp_path / "in"), prefix).objects()
    assert (again[-1]["objects"], again[-1]["skipped"]) == (0, len(TREE))


def test_symbolic_links_of_a_local_tree(
    ctl: Storectl, store: Store, tmp_path: pathlib.Path
) -> None:
    plant(tmp_path, {"outside/secret": b"s", "in/file": b"f"})
    (tmp_path / "in/link").symlink_to("../outside/secret")
    (tmp_path / "in/folder").symlink_to("../outside")
    (tmp_path / "in/loop").symlink_to(".")
    os.mkfifo(tmp_path / "in/pipe")
    done = ctl.ok("cp", "-r", "--json", str(tmp_path / "in"), ":links")
    assert done.objects()[-1]["skipped"] == 4
    assert list(store.listing("links/")) == ["links/file"]
    followed = ctl("cp", "-r", "--follow", str(tmp_path / "in"), ":followed")
    assert followed.status == 1 and followed.err.count("\n") == 1 and "loop" in followed.err
    assert list(store.listing("followed/")) == [
        "followed/file", "followed/folder/secret", "followed/link"]


def test_a_download_does_not_leave_its_folder(
    ctl: Storectl, store: Store, tmp_path: pathlib.Path
) -> None:
    plant(tmp_path, {"out/kept": b"k", "outside/kept": b"k"})
    (tmp_path / "out/door").symlink_to("../outside")
    (tmp_path / "out/file").symlink_to("../outside/kept")
    for key in ("through/door/in", "through/file", "through/good"):
        store.put(key, b"new")
    done = ctl("cp", "-r", ":through", str(tmp_path / "out"))
    assert done.status == 1 and len(done.err.splitlines()) == 2
    assert tree_of(tmp_path / "outside") == {"kept": b"k"}
    assert (tmp_path / "out/good").read_bytes() == b"new"


def test_keys_that_climb_are_refused(s3_store: S3Store, tmp_path: pathlib.Path) -> None:
    for key in ("climb/../../up", "climb/./x", "climb//root", "climb/good"):
        s3_store.put(key, b"new")
    s3_store.put("climb/mark/", b"")  # what other tools make of a folder
    done = Storectl(s3_store)("cp", "-r", ":climb", str(tmp_path / "out"))
    assert done.status == 1 and len(done.err.splitlines()) == 3
    assert tree_of(tmp_path) == {"out/good": b"new"}


def test_a_name_that_is_file_and_folder(
    ctl: Storectl, store: Store, tmp_path: pathlib.Path
) -> None:
    store.put("clash/a", b"file")
    store.put("clash/a/b", b"below")
    done = ctl("cp", "-r", "--parallel", "1", ":clash", str(tmp_path / "out"))
    assert done.status == 1 and tree_of(tmp_path / "out") == {"a": b"file"}


# ---- Listing ----


def test_listing(ctl: Storectl, store: Store) -> None:
    for key in ("ls/a", "ls/b/1", "ls/b/2", "ls/c"):
        store.put(key, b"12")
    assert ctl.ok("ls", ":ls/").lines() == ["ls/a", "ls/b/", "ls/c"]
    assert ctl.ok("ls", ":ls/b").lines() == ["ls/b/"]
    assert ctl.ok("ls", "-r", ":ls/b").lines() == ["ls/b/1", "ls/b/2"]
    assert [line.split()[0] for line in ctl.ok("ls", "-lr", ":ls/").lines()] == ["2"] * 4
    assert ctl.ok("ls", ":nothing").out == b""
    objects = ctl.ok("ls", "--json", ":ls/").objects()
    assert objects[1] == {"prefix": "ls/b/"} and objects[0]["size"] == 2
    whole = ctl.ok("ls", "-r", store.url if store.kind == "folder" else ":").lines()
    assert set(whole) >= {"ls/a", "ls/b/1", "ls/b/2", "ls/c"}


def test_keys_that_could_steer_a_terminal(ctl: Storectl, store: Store) -> None:
    key = "odd/\x1b[2Jx\ny"
    store.put(key, b"")
    assert ctl.ok("ls", ":odd/").out == b"odd/?[2Jx?y\n"
    assert [o["key"] for o in ctl.ok("ls", "--json", ":odd/").objects()] == [key]


def test_keys_that_are_not_utf8(folder_store: FolderStore) -> None:
    key = os.fsdecode(b"raw/\xff\"")
    folder_store.put(key, b"")
    (told,) = Storectl(folder_store).ok("ls", "--json", ":raw/").objects()
    assert told["key"] == 'raw/�"' and told["key_encoded"] == "raw/%FF%22"


# ---- Removing ----


def test_removing_objects(ctl: Storectl, store: Store) -> None:
    store.put_many(numbered("rm/", 1200))
    gone = [f":{key}" for key in numbered("rm/", 1100)]
    ctl.ok("rm", *gone, ":rm/never-there")
    assert len(store.listing("rm/")) == 100
    assert ctl.ok("rm", "--json", ":rm/file-001150").objects() == [{"removed": "rm/file-001150"}]
    assert len(store.listing("rm/")) == 99


def test_removing_a_tree(ctl: Storectl, store: Store) -> None:
    store.put_many([*numbered("rmr/a/", 1500), *numbered("rmr/ab/", 3)])
    (dry,) = ctl.ok("rm", "-r", "--dry-run", "--json", ":rmr/a").objects()
    assert (dry["objects"], dry["bytes"], dry["dry_run"]) == (1500, 1500, True)
    assert len(store.listing("rmr/")) == 1503
    (real,) = ctl.ok("rm", "-r", "--json", ":rmr/a").objects()
    assert (real["objects"], real["complete"], real["prefix"]) == (1500, True, "rmr/a/")
    assert "resume" not in real
    assert len(store.listing("rmr/")) == 3
    assert ctl.ok("rm", "-r", ":rmr").lines()[0].startswith("removed 3 objects, 3 B")


def test_removing_what_is_old(ctl: Storectl, store: Store) -> None:
    store.put_many(numbered("old/", 5))
    (kept,) = ctl.ok("rm", "-r", "--json", "--older-than", "1h", ":old/").objects()
    assert (kept["objects"], kept["kept"]) == (0, 5)
    time.sleep(2.1)  # the store's clock counts seconds
    (gone,) = ctl.ok("rm", "-r", "--json", "--older-than", "1s", ":old/").objects()
    assert (gone["objects"], gone["kept"]) == (5, 0)


def test_resuming(ctl: Storectl, store: Store) -> None:
    store.put_many(["res/a b", "res/b", "res/c"])
    ctl.ok("rm", "-r", "--resume", "res/a%20b", ":res")
    assert list(store.listing("res/")) == ["res/a b"]


def test_a_stopped_removal_says_how_to_go_on(
    proxied: tuple[Proxy, Storectl], s3_store: S3Store
) -> None:
    proxy, ctl = proxied
    s3_store.put_many(numbered("stop/", 2500))
    hold = proxy.hold(b"POST /", "request")  # a batch; what comes before it is listing
    run = ctl.start("rm", "-r", "--json", "--batches", "1", ":stop", stdout=-1, stderr=-1)
    hold.wait()
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=20)
    assert (run.returncode, err) == (130, b"")
    proxy.resume()
    told = json.loads(out)
    assert told["complete"] is False
    more = ["--resume", told["resume"]] if "resume" in told else []
    ctl.ok("rm", "-r", *more, ":stop")
    assert not s3_store.listing("stop/")


# ---- Stopped, cut, slow ----


def test_an_interrupted_download_leaves_no_file(
    proxied: tuple[Proxy, Storectl], s3_store: S3Store, tmp_path: pathlib.Path
) -> None:
    proxy, ctl = proxied
    s3_store.put("big", noise(8 * MIB))
    folder = tmp_path / "down"
    folder.mkdir()
    (folder / "big").write_bytes(b"the old one")
    hold = proxy.hold(b"GET /", "answer")
    run = ctl.start("cp", ":big", str(folder), stderr=-1)
    hold.wait()
    assert len(list(folder.iterdir())) == 2  # the old one, and a temporary name
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=20)
    assert (run.returncode, err) == (130, b"")
    assert tree_of(folder) == {"big": b"the old one"}
    proxy.resume()
    ctl.ok("cp", ":big", str(folder))
    assert tree_of(folder) == {"big": noise(8 * MIB)}


def test_an_interrupted_upload_stores_nothing(ctl: Storectl, store: Store) -> None:
    run = ctl.start("cp", "-", ":half", stdin=-1, stderr=-1)
    assert run.stdin
    run.stdin.write(noise(MIB))
    run.stdin.flush()
    time.sleep(0.3)  # it waits for more by now; earlier would be as good
    run.send_signal(signal.SIGINT)
    assert run.wait(timeout=20) == 130
    _, err = run.communicate()
    assert err == b"" and store.get("half") is None and store.leftovers() == []


def test_an_interrupted_tree_says_how_far_it_went(
    proxied: tuple[Proxy, Storectl], s3_store: S3Store, tmp_path: pathlib.Path
) -> None:
    proxy, ctl = proxied
    s3_store.put_many([f"tree-stop/{n}" for n in range(5)])
    hold = proxy.hold(b"/tree-stop/3", "answer")
    words = ["cp", "-r", "--json", "--parallel", "1", ":tree-stop", str(tmp_path / "out")]
    run = ctl.start(*words, stdout=-1, stderr=-1)
    hold.wait()
    run.send_signal(signal.SIGTERM)
    out, err = run.communicate(timeout=20)
    assert (run.returncode, err) == (130, b"")
    assert json.loads(out.splitlines()[-1])["objects"] == 3
    assert sorted(tree_of(tmp_path / "out")) == ["0", "1", "2"]


def test_a_download_that_gets_nowhere_ends(
    proxied: tuple[Proxy, Storectl], s3_store: S3Store, tmp_path: pathlib.Path
) -> None:
    proxy, ctl = proxied
    s3_store.put("stuck", b"x")
    proxy.stall()
    done = ctl("cp", "--json", "--timeout", "500ms", ":stuck", str(tmp_path / "stuck"))
    assert (done.status, done.error()["error"]) == (1, "timeout")
    assert not list(tmp_path.iterdir())


def test_a_slow_reader_gets_all(ctl: Storectl) -> None:
    body = noise(6 * MIB)
    ctl.ok("cp", "-", ":slow", data=body)
    run = ctl.start("cat", ":slow", stdout=-1, stderr=-1)
    assert run.stdout and run.stderr
    time.sleep(1.0)  # the pipe has been full for long
    got = b""
    while piece := run.stdout.read1(100_000):
        got += piece
    assert (run.wait(timeout=20), run.stderr.read()) == (0, b"")
    assert got == body


@pytest.mark.parametrize("words", [("cat", ":pipe/big"), ("ls", "-r", ":pipe/")])
def test_a_reader_that_goes_away(ctl: Storectl, store: Store, words: tuple[str, ...]) -> None:
    if "pipe/big" not in store.listing("pipe/"):
        ctl.ok("cp", "-", ":pipe/big", data=noise(4 * MIB))
        store.put_many(numbered("pipe/" + "long-name-" * 20, 1200))
    run = ctl.start(*words, stdout=-1, stderr=-1)
    assert run.stdout and run.stderr
    assert run.stdout.read(10)
    run.stdout.close()
    assert (run.wait(timeout=20), run.stderr.read()) == (-signal.SIGPIPE, b"")


def test_a_full_disk_is_an_error(ctl: Storectl, store: Store) -> None:
    store.put("full", b"x" * 100_000)
    for words in (("cat", ":full"), ("ls", ":")):
        with open("/dev/full", "wb") as full:
            run = ctl.start(*words, stdout=full, stderr=-1)
            _, err = run.communicate(timeout=20)
        assert run.returncode == 1 and b"No space left" in err


# ---- A person's terminal ----


def read_until(terminal: int, run: subprocess.Popen[bytes], marker: bytes) -> bytes:
    """What is written on the terminal until the marker comes, or the program has ended."""
    seen, deadline = b"", time.monotonic() + 30.0
    while marker not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                seen += os.read(terminal, 4096)
            except OSError:  # the other end is closed
                break
        elif run.poll() is not None:
            break
    return seen


def test_the_progress_bar(proxied: tuple[Proxy, Storectl], s3_store: S3Store) -> None:
    proxy, ctl = proxied
    s3_store.put_many(numbered("bar/", 10))
    hold = proxy.hold(b"POST /", "request")
    master, slave = pty.openpty()
    began = time.monotonic()
    run = ctl.start("rm", "-r", ":bar", stdout=-1, stderr=slave)
    os.close(slave)
    try:
        hold.wait()
        seen = read_until(master, run, b"objects removed")
        assert b"\r" in seen and b"/s" in seen
        time.sleep(1.0)
        proxy.resume()
        out, _ = run.communicate(timeout=20)
        lasted = time.monotonic() - began
        seen += read_until(master, run, b"never")
    finally:
        os.close(master)
    assert run.returncode == 0 and out.startswith(b"removed 10 objects")
    # At most ten times a second, and wiped at the end.
    assert 2 <= seen.count(b"objects removed") <= lasted * 10 + 1
    assert seen.endswith(b"\r\x1b[K")


# ---- The command line ----


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ([], 2, "expected ls, cp, cat, rm or stat"),
        (["frob"], 2, "frob"),
        (["ls", "--frob"], 2, "--frob"),
        (["ls", "a/file"], 2, "expected s3://BUCKET/KEY"),
        (["cp", ":x"], 2, "storectl cp"),
        (["cp", "/a", "/b"], 2, "expected a place in a store"),
        (["cp", "-", ":folder/"], 2, "full name"),
        (["cp", "--meta", "novalue", "-", ":x"], 2, "NAME=VALUE"),
        (["cp", "--compress", ":x", "/tmp/x"], 2, "--compress"),
        (["cat", "--dry-run", ":x"], 2, "not for cat"),
        (["cat", "--length", "0", ":x"], 2, "--length"),
        (["rm", "--dry-run", ":x"], 2, "only with rm -r"),
        (["rm", "-r", ":"], 2, "not a whole store"),
        (["rm", "-r", "--older-than", "7", ":x/"], 2, "7d"),
        (["rm", "-r", "--resume", "%zz", ":x/"], 2, "--resume"),
        (["rm", ":"], 2, "expected an object"),
        (["ls", "s3:///key"], 2, "bucket"),
        (["cat", ":not/there"], 3, "not/there"),
        (["stat", ":not/there"], 3, "not/there"),
        (["cp", ":not/there", "/tmp/x"], 3, "not/there"),
        (["cp", "/not/there", ":x"], 3, "/not/there"),
        (["cat", ":a/../b"], 1, "'..'"),
    ],
)
def test_what_goes_wrong(
    folder_store: FolderStore, words: list[str], status: int, says: str
) -> None:
    ctl = Storectl(folder_store, AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="y")
    text = ctl(*words)
    assert (text.status, text.out) == (status, b"")
    assert text.err.startswith("storectl: ") and says in text.err and text.err.count("\n") == 1
    same = ctl(*words, "--json")
    assert (same.status, same.out) == (status, b"")
    assert says in same.error()["message"]


def test_a_folder_that_is_not_there_is_not_made(
    folder_store: FolderStore, tmp_path: pathlib.Path
) -> None:
    ctl = Storectl(folder_store)
    for words in (["ls"], ["cat"], ["rm", "-r"]):
        assert ctl(*words, f"file://{tmp_path}/typo//a").status == 3
    assert not (tmp_path / "typo").exists()


def test_a_place_needs_a_store(folder_store: FolderStore) -> None:
    ctl = Storectl(folder_store, STORECTL_STORE="")
    assert "--store" in ctl("ls", ":a").err
    folder_store.put("named", b"")
    assert ctl.ok("ls", "--store", folder_store.url, ":named").lines() == ["named"]
    assert "named" in ctl.ok("--store", folder_store.url, "ls").lines()


def test_a_bucket_by_its_url(s3_store: S3Store) -> None:
    s3_store.put("by/url", b"text")
    ctl, root = Storectl(s3_store), f"s3://{s3_store.bucket}"
    assert ctl.ok("cat", f"{root}/{s3_store.prefix}/by/url").out == b"text"
    assert ctl.ok("ls", "-r", f"{root}/{s3_store.prefix}/by/").lines() == [
        f"{s3_store.prefix}/by/url"
    ]
    wrong = ctl("ls", "--json", f"{root}-never-made/")
    assert wrong.status == 1 and wrong.error()["http_status"] == 404


def test_help_and_version(folder_store: FolderStore) -> None:
    ctl = Storectl(folder_store)
    assert ctl.ok("--version").lines()[0].startswith("storectl ")
    text = ctl.ok("--help").out.decode()
    for word in ("--older-than", "file:///FOLDER//KEY", "Exit status"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_special_file_is_written_to(ctl: Storectl, store: Store) -> None:
    store.put("null", b"x")
    ctl.ok("cp", ":null", "/dev/null")
    assert pathlib.Path("/dev/null").is_char_device()


def test_unfinished_uploads_are_seen_and_removed(s3_store: S3Store) -> None:
    path = f"/{s3_store.bucket}/{s3_store.prefix}/up/load"
    status, _ = s3_store.s3.request("POST", path, query={"uploads": ""})
    assert status == 200
    ctl = Storectl(s3_store)
    (told,) = ctl.ok("ls", "-r", "--uploads", "--json", ":up/").objects()
    assert told["key"] == "up/load" and told["upload"]
    (gone,) = ctl.ok("rm", "-r", "--uploads", "--json", ":up").objects()
    assert gone["uploads"] == 1
    assert ctl.ok("ls", "-r", "--uploads", ":up/").out == b""


def test_versions_of_a_folder_are_its_objects(folder_store: FolderStore) -> None:
    folder_store.put("ver/one", b"x")
    (told,) = Storectl(folder_store).ok("ls", "-r", "--versions", "--json", ":ver/").objects()
    assert (told["key"], told["latest"], told["marker"]) == ("ver/one", True, False)


def test_versions_are_listed_and_removed(s3_store: S3Store) -> None:
    s3, bucket = s3_store.s3, f"versions-{secrets.token_hex(4)}"
    config = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert s3.request("PUT", f"/{bucket}")[0] == 200
    assert s3.request("PUT", f"/{bucket}", query={"versioning": ""}, body=config)[0] == 200
    ctl, place = Storectl(s3_store), f"s3://{bucket}/a/"
    for body in (b"1", b"22"):
        ctl.ok("cp", "-", f"{place}key", data=body)
    ctl.ok("rm", f"{place}key")
    assert ctl.ok("ls", "-r", place).out == b""
    told = ctl.ok("ls", "-r", "--versions", "--json", place).objects()
    assert [(one["marker"], one["latest"], one["size"]) for one in told] == [
        (True, True, 0), (False, False, 2), (False, False, 1)]
    assert len({one["version"] for one in told}) == 3
    (gone,) = ctl.ok("rm", "-r", "--versions", "--json", place).objects()
    assert (gone["objects"], gone["bytes"]) == (3, 3)
    assert ctl.ok("ls", "-r", "--versions", place).out == b""
