"""libstore against every kind of store, judged by tests/conformance.

What a server is known to do otherwise is listed here, with the reason, and must fail: a case that
passes all of a sudden is to be taken from its list. The suite itself knows no server.
"""

import dataclasses
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack import paths, versitygw
from devstack.process import DevstackError
from devstack.rgw import Rgw
from devstack.versitygw import VersityGw

TIMEOUT_S = 400
VERDICT = re.compile(r"^(ok|not ok|skip) ([a-z0-9_/]+)(?:: (.*))?$", re.MULTILINE)
TOTALS = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Known:
    """Cases that a server fails, and why."""

    reason: str
    cases: frozenset[str]
    always: bool = True  # False: it is a race in the server, which may also end well


def known(reason: str, *cases: str, always: bool = True) -> Known:
    return Known(reason, frozenset(cases), always)


RGW = [
    known(
        "listings repeat prefix and token as they are, where XML cannot carry them",
        "keys/a_page_may_end_at_a_control_character",
        "list/a_prefix_may_end_within_a_letter",
    ),
]

RGW_VERSIONED = [
    *RGW,
    known(
        "in a bucket with versions, no put that names an ETag finds it",
        "condition/a_put_replaces_what_it_names",
        "condition/one_of_many_that_replace_wins",
        "compress/a_compressed_put_replaces_what_it_names",
    ),
    known(
        "in a bucket with versions, If-None-Match of a put is ignored",
        "condition/a_put_creates_only_where_nothing_is",
        "condition/an_empty_object_is_something",
        "condition/one_of_many_that_create_wins",
        "condition/one_of_many_streams_that_create_wins",
        "compress/type_metadata_and_conditions_are_as_ever",
        "put/an_expiring_put_keeps_its_type_and_metadata",
        "stream/a_stream_takes_type_metadata_and_conditions",
    ),
]

# Its keys are names of files.
VERSITYGW = [
    known(
        "an object cannot be the folder of another",
        "put/a_key_may_begin_another_key",
        "list/a_prefix_may_be_a_key",
    ),
    known(
        "a segment of a key is at most 255 bytes",
        "keys/long_segments_come_back",
        "keys/the_longest_segment_comes_back",
    ),
    known(
        "listings leave out its own folder's name",
        "keys/names_of_insiders_are_taken_literally",
    ),
    known(
        "listings have U+FFFD for what XML cannot carry",
        "keys/control_characters_come_back_where_they_are_taken",
        "keys/a_page_may_end_at_a_control_character",
        "keys/bytes_that_are_no_utf8_come_back_where_they_are_taken",
        "keys/a_page_may_end_at_a_byte_that_is_no_utf8",
        "prefix/control_characters_below_a_prefix_are_removed",
        "end/nothing_is_left",
    ),
    known(
        "a folder that is not empty is no missing object to DeleteObjects",
        "delete/a_listed_key_against_the_rules_is_taken",
    ),
    known(
        'DeleteObjects follows ".." to other objects',
        "narrow/what_a_listing_did_not_tell_is_not_removed",
    ),
    known(
        "If-Modified-Since is compared with fractions of a second",
        "condition/a_get_keeps_its_conditions",
    ),
    known(
        "a condition and the put that it is for are two steps",
        "condition/one_of_many_that_create_wins",
        "condition/one_of_many_streams_that_create_wins",
        "condition/one_of_many_that_replace_wins",
        always=False,
    ),
    known(
        "listings of versions and of uploads do not go on at their markers",
        "multipart/uploads_are_listed_page_by_page",
        "versions/without_versions_their_listing_tells_the_objects",
    ),
    known(
        "an upload lives on after its end when a part is still on its way",
        "multipart/a_listed_upload_can_be_aborted",
        always=False,
    ),
    known(
        "a put that is cut off is stored as far as it came",
        "stream/a_stream_that_gives_up_stores_nothing",
        "cancel/a_stream_may_be_canceled_at_any_time",
        "cancel/a_paused_put_may_be_canceled",
        "cancel/a_held_put_ends_at_its_deadline_and_stores_nothing",
        "loop/freeing_a_loop_ends_what_is_under_way",
        always=False,
    ),
]

# In its buckets with versions more is amiss, such as groups that outlive their keys. What is asked
# of it there is the versions alone.
VERSITYGW_VERSIONS = [
    known(
        "listings of versions repeat the entry at their marker",
        "versions/versions_of_a_key_may_span_pages",
        "versions/versions_of_many_keys_are_paged",
        "versions/more_versions_than_a_batch_are_removed",
    ),
]


@dataclasses.dataclass(frozen=True)
class Target:
    url: str
    env: dict[str, str]
    differences: list[Known]
    filter: str = "*"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VersityGw]:
    try:
        versitygw.program()
    except DevstackError as error:
        pytest.skip(str(error))
    with VersityGw(tmp_path_factory.mktemp("versitygw")) as server:
        yield server


def run(target: Target) -> dict[str, tuple[str, str]]:
    """Verdict and message of each case."""
    done = subprocess.run(
        [paths.program("store-conformance"), target.url, "--filter", target.filter],
        env=os.environ | target.env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    verdicts = {name: (verdict, why or "") for verdict, name, why in VERDICT.findall(done.stdout)}
    totals = TOTALS.search(done.stdout)
    assert totals, f"no last line, status {done.returncode}: {done.stdout[-500:]}{done.stderr}"
    assert sum(map(int, totals.groups())) == len(verdicts)
    assert done.returncode == (1 if int(totals[2]) else 0), done.stderr
    return verdicts


def judge(target: Target) -> None:
    verdicts = run(target)
    failed = {name for name, (verdict, _) in verdicts.items() if verdict == "not ok"}
    always = {case for known in target.differences if known.always for case in known.cases}
    allowed = {case for known in target.differences for case in known.cases}
    unexpected = [f"{name}: {verdicts[name][1]}" for name in sorted(failed - allowed)]
    assert not unexpected, "\n".join(["cases that failed:", *unexpected])
    passed_all_the_same = sorted(always - failed)
    assert not passed_all_the_same, "listed as differences of this server, but none any more"
    assert any(verdict == "ok" for verdict, _ in verdicts.values())


def test_folder_keeps_every_promise(tmp_path: Path) -> None:
    judge(Target(f"file://{tmp_path}/store", {}, []))


def test_rgw_keeps_all_but_the_known(rgw: Rgw) -> None:
    judge(Target(f"s3://{rgw.bucket}/conformance", rgw.s3.env(), RGW))


@pytest.mark.waits
def test_rgw_with_versions_keeps_all_but_the_known(rgw: Rgw) -> None:
    bucket = "versioned"
    assert rgw.s3.request("PUT", f"/{bucket}")[0] in (200, 409)
    versitygw.enable_versioning(rgw.s3, bucket)
    judge(Target(f"s3://{bucket}/conformance", rgw.s3.env(), RGW_VERSIONED))


def test_versitygw_keeps_all_but_the_known(gateway: VersityGw) -> None:
    judge(Target(f"s3://{gateway.bucket}/conformance", gateway.s3.env(), VERSITYGW))


@pytest.mark.waits
def test_versitygw_keeps_versions_but_for_the_known(gateway: VersityGw) -> None:
    url = f"s3://{gateway.versioned_bucket}/conformance"
    judge(Target(url, gateway.s3.env(), VERSITYGW_VERSIONS, filter="versions/*"))


def test_the_suite_names_its_cases_and_explains_itself() -> None:
    program = paths.program("store-conformance")
    command = [program, "--list", "--filter", "get/*"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert "get/ranges_are_cut_out" in listed.stdout.splitlines()
    usage = subprocess.run([program], capture_output=True, text=True, timeout=30, check=False)
    assert usage.returncode == 2 and "STORE_URL" in usage.stderr


def test_a_store_that_cannot_be_used_is_no_pass(tmp_path: Path) -> None:
    program = paths.program("store-conformance")
    for url in ("gopher://x", f"file://{tmp_path}/no/parent"):
        done = subprocess.run([program, url], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2 and done.stderr and "passed" not in done.stdout
