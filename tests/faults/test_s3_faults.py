"""Each allocation and system call of the S3 driver failing once; see tests/tools/s3_faults.c."""

import re
import subprocess

from devstack import paths

AT_LEAST = 2000
LIMIT_S = 400


def test_every_call_may_fail_once() -> None:
    done = subprocess.run(
        [paths.program("s3-faults")],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stderr
    faults = re.search(r"^(\d+) faults in (\d+) scenarios$", done.stdout, re.MULTILINE)
    assert faults and int(faults[1]) >= AT_LEAST and int(faults[2]) >= 12
