# SPDX-License-Identifier: Apache-2.0
"""The benchmarks' rows with TLS: that each measures what it says, on asyncio and
on rsloop_c. Nothing here depends on how fast anything is."""

import dataclasses
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import cell, tools, workloads  # noqa: E402


def shortened(name, **params):
    row = workloads.WORKLOADS[name]
    return dataclasses.replace(row, params={**row.params, **params})


@pytest.fixture
def tls_conditions():
    """What ends by a number of messages: no machine is too slow for that."""
    if shutil.which("cc") is None or shutil.which("openssl") is None:
        pytest.skip("no C compiler, or no openssl to make a certificate")
    client = tools.build_client()
    if not client.name.endswith("-tls"):
        pytest.skip("no headers of OpenSSL to build the client with")
    return cell.Conditions(seconds=0.1, warmup=0, client=client)


@pytest.mark.parametrize("loop", ["asyncio", "rsloop_c:auto+python"])
@pytest.mark.parametrize(
    "name",
    ["echo-tls-protocol-1k-16", "echo-tls-streams-100k-16", "handshakes-rsa"],
)
def test_cell_with_tls(name, loop, tls_conditions):
    # Enough for the CPU time to be seen, which the kernel counts in steps.
    messages = 40 if name.startswith("handshakes") else 1000
    row = shortened(name, conns=2, messages=messages)
    sample = cell.measure(row, loop, 0, tls_conditions)
    assert sample.error is None
    assert sample.details["messages"] >= messages
    assert sample.cpu_us > 0
    assert sample.loop_cpu_us is not None
    assert sample.details["resumed"] == 0
    if loop != "asyncio":
        assert sample.backend.endswith(", TLS by python")


def test_resumed_handshakes_are_counted(tls_conditions):
    row = shortened("handshakes-ecdsa-resumed", conns=1, messages=6)
    sample = cell.measure(row, "asyncio", 0, tls_conditions)
    assert sample.error is None
    assert sample.details["resumed"] >= 5


def test_https_is_measured(tls_conditions):
    pytest.importorskip("uvicorn")
    pytest.importorskip("httptools")
    row = shortened("https", conns=2, messages=10)
    assert cell.measure(row, "asyncio", 0, tls_conditions).error is None


def test_handshakes_beside_plain_connections(tls_conditions, monkeypatch):
    monkeypatch.setattr(tools, "AT_LEISURE", ())
    row = shortened("plain-beside-tls", conns=2, messages=20, rate=200, handshakes=50)
    sample = cell.measure(row, "asyncio", 0, tls_conditions)
    assert sample.error is None
    assert sample.beside is not None
    assert sample.client_late_us is not None


def test_memory_of_idle_tls_connections(tls_conditions):
    row = shortened("idle-tls", conns=30, ballast=2)
    sample = cell.measure(row, "asyncio", 0, tls_conditions)
    assert sample.error is None
    assert sample.value > 1000
