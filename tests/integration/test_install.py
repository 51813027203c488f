"""`make install` gives a stranger's program what it needs to use libstore."""

import os
import pathlib
import subprocess

import pytest

from devstack import paths

PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <store/store.h>

int main(int argc, char **argv)
{
    store *s;
    struct store_err err;
    void *bytes;
    size_t size;
    if (argc != 2 || store_open(argv[1], NULL, &s, &err) != 0) {
        fprintf(stderr, "%s\n", argc == 2 ? err.msg : "expected a store URL");
        return 1;
    }
    int rc = store_sync_put(s, NULL, "a/hello", "world", 5, NULL, NULL, NULL, &err);
    if (rc == 0)
        rc = store_sync_get(s, NULL, "a/hello", 100, &bytes, &size, NULL, &err);
    if (rc != 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    printf("%zu %s\n", size, (char *) bytes);
    free(bytes);
    store_close(s);
    return 0;
}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("install")
    command = ["make", "install", f"DESTDIR={folder}", "PREFIX=/usr", f"B={folder}/build"]
    # What a stranger installs, whatever build the tests are run for.
    ours = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "SANITIZE", "DEVELOPER")
    env = {name: value for name, value in os.environ.items() if name not in ours}
    subprocess.run(command + ["-j2"], cwd=paths.ROOT, env=env, check=True, timeout=300)
    return folder


def pkg_config(installed: pathlib.Path, *words: str) -> list[str]:
    env = os.environ | {
        "PKG_CONFIG_PATH": str(installed / "usr/lib/pkgconfig"),
        "PKG_CONFIG_SYSROOT_DIR": str(installed),
    }
    done = subprocess.run(
        ["pkg-config", *words, "libstore"], env=env, check=True, capture_output=True, text=True
    )
    return done.stdout.split()


def build(folder: pathlib.Path, flags: list[str], libs: list[str]) -> pathlib.Path:
    source, program = folder / "hello.c", folder / "hello"
    source.write_text(PROGRAM)
    command = ["cc", "-std=c11", "-Wall", "-Werror", *flags, "-o", str(program), str(source), *libs]
    subprocess.run(command, check=True, timeout=60)
    return program


def test_program_with_the_shared_library(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    libs = pkg_config(installed, "--libs")
    program = build(tmp_path, pkg_config(installed, "--cflags"), libs)
    env = os.environ | {"LD_LIBRARY_PATH": str(installed / "usr/lib")}
    done = subprocess.run(
        [program, f"file://{tmp_path}/store"], env=env, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "5 world\n", "")


def test_program_with_the_static_library(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    archive = str(installed / "usr/lib/libstore.a")
    program = build(
        tmp_path,
        pkg_config(installed, "--cflags"),
        [archive, "-lcurl", "-lcrypto", "-lexpat", "-pthread"],
    )
    done = subprocess.run(
        [program, f"file://{tmp_path}/store"], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "5 world\n", "")


def test_only_the_public_names_are_exported(installed: pathlib.Path) -> None:
    for library, dynamic in (("libstore.so.0", True), ("libstore.a", False)):
        command = ["nm", "--defined-only", "--extern-only", *(["-D"] if dynamic else [])]
        done = subprocess.run(
            [*command, str(installed / "usr/lib" / library)],
            check=True,
            capture_output=True,
            text=True,
        )
        names = [line.split()[2] for line in done.stdout.splitlines() if len(line.split()) == 3]
        assert "store_open" in names
        assert [name for name in names if not name.startswith("store_")] == []


def test_programs_are_installed(installed: pathlib.Path) -> None:
    for name in ("epufs-reader", "epufs-writer", "epufs-janitor"):
        done = subprocess.run(
            [installed / "usr/bin" / name, "--version"], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0 and done.stdout.startswith(name)
