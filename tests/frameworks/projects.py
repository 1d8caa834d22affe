# SPDX-License-Identifier: Apache-2.0
"""The projects whose own tests run.py runs on rsloop_c."""

import dataclasses
import os


@dataclasses.dataclass(frozen=True)
class Project:
    name: str
    version: str
    # What pip installs beside it: its test requirements, without those that
    # check style, types, coverage or speed, and without uvloop.
    requirements: tuple = ()
    extras: str = ""
    # (suite, package, version) of a Debian source package, where PyPI's
    # source distribution has no tests.
    debian: tuple = ()
    # Taken out of the sources, so that the tests import what pip compiled.
    compiled: str = ""
    # Are the tests ours, in the folder of its name beside this file?
    tests_here: bool = False
    pytest: tuple = ()
    # Beginnings of test ids, each with the reason why it is left out.
    deselected: dict = dataclasses.field(default_factory=dict)

    @property
    def title(self):
        return f"{self.name} {self.version}".rstrip()

    @property
    def requirement(self):
        """For pip; nothing where the tests are our own."""
        if self.tests_here:
            return ()
        return (f"{self.name}{self.extras}=={self.version}",)


# Each project's own addopts start a process per processor, measure coverage or
# need plugins for it.
PLAIN = ("-o", "addopts=")

PROJECTS = (
    Project(
        "uvicorn", "0.54.0",
        requirements=(
            "httptools", "python-dotenv", "PyYAML", "watchfiles",
            "websockets>=13", "pytest", "pytest-mock", "trustme",
            "cryptography", "httpx2", "a2wsgi", "wsproto", "zttp"),
        pytest=(*PLAIN, "--ignore=tests/benchmarks"),
    ),
    Project(
        "aiohttp", "3.14.5", extras="[speedups]",
        requirements=(
            "pytest", "pytest-mock", "pytest-timeout", "pytest-xdist",
            "pytest-cov", "pytest_codspeed", "freezegun",
            "proxy.py>=2.4.4rc5", "setuptools-git", "pkgconfig",
            "blockbuster", "isal; python_version < '3.14'", "trustme",
            "zlib_ng", "gunicorn", "python-on-whales"),
        compiled="aiohttp",
        # Speed, and imports in some hundred processes: no matter of the loop.
        pytest=(*PLAIN, "-m", "not dev_mode and not autobahn and not internal",
                "--ignore-glob=tests/test_benchmarks_*",
                "--ignore=tests/test_circular_imports.py"),
    ),
    Project(
        "anyio", "4.16.0",
        requirements=(
            "blockbuster", "hypothesis", "psutil", "pytest", "pytest-mock",
            "pytest-timeout", "trustme", "truststore"),
        # Its 20 seconds for a test are short on a busy machine.
        pytest=(*PLAIN, "-o", "timeout=60"),
    ),
    Project(
        "websockets", "15.0.1",
        requirements=(
            "pytest", "mitmproxy", "python-socks[asyncio]", "werkzeug"),
        debian=("trixie", "python-websockets", "15.0.1-1"),
        compiled="src/websockets",
        # Threads and sockets, no loop; some fail now and then on asyncio.
        pytest=("-c", os.devnull, "--rootdir=.", "--ignore=tests/sync",),
    ),
    Project(
        "starlette", "1.10.0", extras="[full]",
        requirements=(
            "httpx2[zstd]", "blockbuster", "importlib-metadata",
            "opentelemetry-sdk", "pytest", "trio"),
    ),
    Project(
        "httpx", "0.28.1", extras="[brotli,cli,http2,socks,zstd]",
        # The versions of its day: its tests compare what these guess.
        requirements=(
            "chardet==5.2.0", "click<8.2", "cryptography", "pytest", "trio",
            "trustme", "uvicorn"),
        deselected=dict.fromkeys((
            "tests/client/test_proxies.py::test_async_proxy_close",
            "tests/client/test_proxies.py::test_sync_proxy_close",
        ), "looks up a name of the internet"),
    ),
    Project(
        "hypercorn", "0.18.0", extras="[h3,trio]",
        requirements=(
            "httpx", "hypothesis", "mock", "pytest", "pytest-asyncio",
            "pytest-trio", "trio"),
        pytest=PLAIN,
    ),
    Project(
        "aiofiles", "25.1.0",
        requirements=("pytest", "pytest-asyncio"),
    ),
    # Ours: TLS by those who use it most.
    Project(
        "https", "",
        requirements=(
            "aiohttp==3.14.5", "httpx==0.28.1", "uvicorn==0.54.0", "pytest"),
        tests_here=True,
        pytest=("-c", os.devnull, "--rootdir=."),
    ),
    # Ours: drivers against servers of Debian's packages.
    Project(
        "databases", "",
        requirements=(
            "asyncpg==0.32.0", "psycopg[binary,pool]==3.3.9",
            "redis==8.1.0", "pytest"),
        tests_here=True,
        pytest=("-c", os.devnull, "--rootdir=."),
    ),
)
