# SPDX-License-Identifier: Apache-2.0
"""Programs outside Python: the load client, built once, wrk and openssl."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCES = ("client.c", "client_modes.c", "client_connect.c", "client_tls.c")
HEADERS = ("client.h", "client_histogram.h")
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")
TLS_FLAGS = ("-DCLIENT_TLS", "-lssl", "-lcrypto")


HTTP_SECONDS = 60.0  # under valgrind


class ToolError(Exception):
    """A tool is missing or failed; the message is for the report."""


def _cache() -> Path:
    folder = HERE.parent / ".build" / "bench"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / f"rsloop_c-bench-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _compile_client(compiler: str, path: Path, flags: tuple[str, ...]) -> str:
    """Returns what the compiler has to say if it fails."""
    partial = path.with_suffix(f".{os.getpid()}")
    command = [compiler, *FLAGS, "-o", str(partial)]
    command += [str(HERE / name) for name in SOURCES] + list(flags)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        partial.rename(path)
        return ""
    return done.stderr[-400:] or "it says nothing"


def build_client() -> Path:
    """Compile the client unless this very source was compiled before: with TLS
    where OpenSSL can be compiled against, else without."""
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        raise ToolError("no C compiler (cc) to build the load client with")
    digest = hashlib.sha256(repr((platform.libc_ver(), FLAGS, TLS_FLAGS)).encode())
    for name in SOURCES + HEADERS:
        digest.update((HERE / name).read_bytes())
    path = _cache() / f"client-{digest.hexdigest()[:16]}"
    with_tls = path.with_name(path.name + "-tls")
    if with_tls.exists() or not _compile_client(compiler, with_tls, TLS_FLAGS):
        return with_tls
    if not path.exists() and (fault := _compile_client(compiler, path, ())):
        raise ToolError(f"the load client does not build: {fault}")
    return path


KEYS = {
    "ecdsa": "-newkey ec -pkeyopt ec_paramgen_curve:P-256",
    "rsa": "-newkey rsa:2048",
}


def certificate(folder: Path, key: str = "ecdsa") -> tuple[Path, Path]:
    """(certificate, key), made for this one cell."""
    found = folder / "certificate.pem", folder / "key.pem"
    command = f"openssl req -x509 -nodes {KEYS[key]}"
    command += f" -days 2 -subj /CN=localhost -out {found[0]} -keyout {found[1]}"
    run_tool(command.split(), 20)
    return found


def client_command(client: Path, options: dict[str, Any]) -> list[str]:
    """{"cpu_pid": 7} becomes --cpu-pid=7."""
    pairs = ((name.replace("_", "-"), value) for name, value in options.items())
    return [str(client)] + [
        f"--{name}={int(value) if isinstance(value, bool) else value}"
        for name, value in pairs
    ]


# What runs beside a measured client and must not keep it from its CPU.
AT_LEISURE = ("chrt", "--idle", "0")


def on_cpus(command: list[str], cpus: str | None, realtime: bool = False) -> list[str]:
    if realtime:
        command = ["chrt", "--fifo", "1", *command]
    return command if cpus is None else ["taskset", "-c", cpus, *command]


def run_tool(
    command: list[str],
    timeout: float,
    cpus: str | None = None,
    realtime: bool = False,
) -> str:
    """The tool's stdout; it runs on these CPUs ("0", "0,1") if they are given."""
    command = on_cpus(command, cpus, realtime)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except FileNotFoundError as exc:
        raise ToolError(f"{exc.filename} is not installed") from None
    except subprocess.TimeoutExpired:
        raise ToolError(f"no end of the load after {timeout:.0f} s") from None
    if done.returncode != 0:
        raise ToolError((done.stderr or done.stdout).strip()[-400:] or "it failed")
    return done.stdout


def run_client(
    client: Path,
    options: dict[str, Any],
    timeout: float,
    cpus: str | None,
    realtime: bool = False,
) -> dict[str, Any]:
    command = client_command(client, options)
    result = json.loads(run_tool(command, timeout, cpus, realtime))
    assert isinstance(result, dict)
    return result


def websocket_files(folder: Path, size: int) -> dict[str, Any]:
    """An upgrade and one masked binary frame (the mask is zero) for the client;
    the answer is a frame without the mask."""
    if not 126 <= size < 65536:
        raise ValueError(f"{size} has no 16-bit length in a websocket frame")
    upgrade = (
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    (folder / "upgrade").write_text(upgrade)
    head = b"\x82\xfe" + size.to_bytes(2, "big") + bytes(4)
    (folder / "frame").write_bytes(head + b"x" * size)
    return {
        "handshake": folder / "upgrade",
        "request": folder / "frame",
        "response": size + 4,
    }


def _connect(port: int, tls: bool) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), HTTP_SECONDS)
    if not tls:
        return connection
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with connection:  # wrap_socket() takes its descriptor, or fails
        return context.wrap_socket(connection)


def shake_hands(port: int) -> None:
    """A TLS handshake with what listens there, and the end that it makes."""
    with _connect(port, True) as connection:
        connection.recv(1)


def http_files(folder: Path, port: int, tls: bool = False) -> dict[str, Any]:
    """A request for the client, and how long the answer to one is."""
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    (folder / "request").write_bytes(request)
    with _connect(port, tls) as connection:
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += _received(connection)
        head, _, _ = answer.partition(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head.lower())
        length = len(head) + 4 + int(found[1] if found else 0)
        while len(answer) < length:
            answer += _received(connection)
    return {"request": folder / "request", "response": length}


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ToolError("the HTTP server closed the connection")
    return data


_UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


def _wrk_latency(text: str, percentile: int) -> float | None:
    found = re.search(rf"^\s+{percentile}%\s+([\d.]+)(us|ms|s|m)$", text, re.M)
    return float(found[1]) * _UNITS_US[found[2]] if found else None


def parse_wrk(text: str) -> dict[str, Any]:
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m),", text)
    if total is None:
        raise ToolError(f"cannot read wrk's answer: {text[-300:]}")
    if bad := re.search(r"Non-2xx or 3xx responses: \d+|Socket errors: .*", text):
        raise ToolError(bad[0])
    return {
        "messages": int(total[1]),
        "seconds": float(total[2]) * _UNITS_US[total[3]] / 1e6,
        "p50_us": _wrk_latency(text, 50),
        "p90_us": _wrk_latency(text, 90),
        "p99_us": _wrk_latency(text, 99),
    }


def run_wrk(port: int, conns: int, seconds: float, cpus: str | None) -> dict[str, Any]:
    """wrk knows whole seconds only."""
    whole = max(1, round(seconds))
    command = ["wrk", "-t1", f"-c{conns}", f"-d{whole}s", "--latency"]
    command.append(f"http://127.0.0.1:{port}/")
    return parse_wrk(run_tool(command, whole + 20, cpus))
