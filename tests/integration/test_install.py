"""`make install` gives a stranger's program what it needs to use libstore."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from devstack import paths

EXAMPLES = sorted(path.stem for path in (paths.ROOT / "examples").glob("*.c"))
HEADERS = sorted(path.name for path in (paths.ROOT / "include/store").glob("*.h"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("install")
    command = ["make", "install", f"DESTDIR={folder}", "PREFIX=/usr", f"B={folder}/build"]
    # What a stranger installs, whatever build the tests are run for.
    ours = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "SANITIZE", "DEVELOPER")
    env = {name: value for name, value in os.environ.items() if name not in ours}
    subprocess.run([*command, "-j2"], cwd=paths.ROOT, env=env, check=True, timeout=300)
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


def build(installed: pathlib.Path, name: str, program: pathlib.Path, libs: list[str]) -> None:
    """An example, outside the tree: it sees nothing but what was installed."""
    source = program.with_suffix(".c")
    shutil.copy(paths.ROOT / "examples" / f"{name}.c", source)
    command = ["cc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]
    command += [*pkg_config(installed, "--cflags"), "-o", str(program), str(source), *libs]
    subprocess.run(command, check=True, timeout=60)


def output_of(installed: pathlib.Path, command: list[str], text: str | None = None) -> str:
    env = os.environ | {"LD_LIBRARY_PATH": str(installed / "usr/lib")}
    done = subprocess.run(
        command, env=env, input=text, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def tool(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


# ---- Programs of others ----


@pytest.fixture(scope="module")
def examples(installed: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """All of them, linked with the shared library."""
    folder = tmp_path_factory.mktemp("examples")
    libs = pkg_config(installed, "--libs")
    assert not {"-lcurl", "-lcrypto", "-lzstd"} & set(libs)  # these are libstore's own affair
    for name in EXAMPLES:
        build(installed, name, folder / name, libs)
    return folder


@pytest.fixture
def url(tmp_path: pathlib.Path) -> str:
    return f"file://{tmp_path}/store"


def test_the_manual_has_the_example_as_it_is() -> None:
    manual = (paths.ROOT / "docs/libstore.md").read_text()
    assert f"```c\n{(paths.ROOT / 'examples/put_get.c').read_text()}```\n" in manual


def test_blocking_example(installed: pathlib.Path, examples: pathlib.Path, url: str) -> None:
    out = output_of(installed, [str(examples / "put_get"), url])
    assert out.splitlines()[-1] == "read 5 bytes: world"


def test_stream_and_read_many(installed: pathlib.Path, examples: pathlib.Path, url: str) -> None:
    texts = {f"k{number:02}": f"{number} " * 30_000 for number in range(20)}
    for key, text in texts.items():
        out = output_of(installed, [str(examples / "stream_put"), url, key], text)
        assert out == f"{len(text)} bytes\n"
    out = output_of(installed, [str(examples / "get_many"), url, *texts])
    assert out == "".join(texts.values())


def test_own_loop(installed: pathlib.Path, examples: pathlib.Path, url: str) -> None:
    # One after the other: what is asked together may be answered in any order.
    for line, answer in (
        ("put a/b some text", "done\n"),
        ("get a/b", "some textdone\n"),
        ("rm a/b", "done\n"),
        ("get a/b", "not_found: no object 'a/b'\n"),
    ):
        assert output_of(installed, [str(examples / "own_loop"), url], f"{line}\n") == answer


def test_delete_prefix(
    installed: pathlib.Path, examples: pathlib.Path, url: str, tmp_path: pathlib.Path
) -> None:
    for key in ("a/1", "a/2", "a/3", "b/1"):
        output_of(installed, [str(examples / "stream_put"), url, key], "12345")
    # As an earlier run would have left it.
    state = tmp_path / "state"
    state.write_text("a/2")
    command = [str(examples / "delete_prefix"), url, "a/", str(state)]
    assert output_of(installed, command).splitlines()[-1] == "done: 1 objects, 5 bytes"
    assert not state.exists()
    assert output_of(installed, command).splitlines()[-1] == "done: 2 objects, 10 bytes"
    assert output_of(installed, [str(examples / "get_many"), url, "b/1"]) == "12345"


def test_program_with_the_static_library(
    installed: pathlib.Path, tmp_path: pathlib.Path, url: str
) -> None:
    libs = pkg_config(installed, "--static", "--libs")
    libs = ["-l:libstore.a" if word == "-lstore" else word for word in libs]
    program = tmp_path / "put_get"
    build(installed, "put_get", program, libs)
    assert "libstore" not in tool("readelf", "--dynamic", str(program))
    assert "read 5 bytes: world" in output_of(installed, [str(program), url])


# ---- The interface ----


def test_all_headers_are_installed_and_compile_alone(installed: pathlib.Path) -> None:
    folder = installed / "usr/include/store"
    assert sorted(path.name for path in folder.iterdir()) == HEADERS
    compilers = [["cc", "-std=c11", "-xc"]]
    if shutil.which("g++"):
        compilers.append(["g++", "-std=c++11", "-xc++"])
    for compiler in compilers:
        for name in HEADERS:
            command = [*compiler, "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
            subprocess.run(
                [*command, *pkg_config(installed, "--cflags"), "-"],
                input=f"#include <store/{name}>\n",
                text=True,
                check=True,
                timeout=60,
            )


def test_a_cpp_program_links(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    source, program = tmp_path / "name.cpp", tmp_path / "name"
    source.write_text(
        "#include <cstdio>\n#include <store/store.h>\n"
        "int main() { std::puts(store_code_name(STORE_NOT_FOUND)); }\n"
    )
    flags = pkg_config(installed, "--cflags", "--libs")
    subprocess.run(["g++", "-o", str(program), str(source), *flags], check=True, timeout=60)
    assert output_of(installed, [str(program)]) == "not_found\n"


def declared() -> set[str]:
    """The functions of the public headers."""
    texts = ((paths.ROOT / "include/store" / name).read_text() for name in HEADERS)
    pattern = re.compile(r"^STORE_API\b[^;(]*?(\w+)\(", re.MULTILINE)
    return {name for text in texts for name in pattern.findall(text)}


def exported(library: pathlib.Path, *options: str) -> set[str]:
    lines = tool("nm", "--defined-only", "--extern-only", *options, str(library)).splitlines()
    return {line.split()[2] for line in lines if len(line.split()) == 3}


def test_what_the_headers_declare_is_exported_and_nothing_else(installed: pathlib.Path) -> None:
    folder = installed / "usr/lib"
    assert len(declared()) > 30
    assert exported(folder / "libstore.a") == declared()
    dynamic = {f"{name}@@STORE_0" for name in declared()} | {"STORE_0"}  # the version itself
    assert exported(folder / "libstore.so.0", "-D") == dynamic


def test_the_library_carries_its_version(
    installed: pathlib.Path, examples: pathlib.Path
) -> None:
    folder = installed / "usr/lib"
    assert (folder / "libstore.so").readlink() == pathlib.Path("libstore.so.0")
    assert "soname: [libstore.so.0]" in tool("readelf", "--dynamic", str(folder / "libstore.so.0"))
    program = str(examples / "put_get")
    assert "[libstore.so.0]" in tool("readelf", "--dynamic", program)
    assert "store_open@STORE_0" in tool("readelf", "--dyn-syms", "--wide", program)


def test_programs_are_installed(installed: pathlib.Path) -> None:
    for name in ("epufs-reader", "epufs-writer", "epufs-janitor", "storectl"):
        done = subprocess.run(
            [installed / "usr/bin" / name, "--version"], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0 and done.stdout.startswith(name)
