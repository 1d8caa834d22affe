# SPDX-License-Identifier: Apache-2.0
"""The examples run, and the demo serves what its page promises."""

import contextlib
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DEMO = EXAMPLES / "demo"
PROGRAMS = sorted(path.name for path in EXAMPLES.glob("[0-9]*.py"))

# What a program of that name has to show, in this order.
SHOWS = {
    "01_basics.py": [
        "callbacks: soon, first timer, second timer",
        "backend: ",
        "tasks: [0, 2, 4, 6, 8]",
        "from a thread: hello",
        "in the executor: 499500",
        "echoed: one byte and many more",
    ],
    "02_fd_and_sockets.py": [
        "readiness: sent 4 bytes, received b'ping'",
        "sock_*: hello",
        "udp: one datagram",
        "localhost is",
        "and back: 127.0.0.1 port 80",
    ],
    "03_streams.py": ["50 answers, the last: CLIENT 49", "4 MiB there and back"],
    "04_unix_and_accepted_socket.py": [
        "unix socket: desserts",
        "server's peer is the client: True",
        "accepted socket: reward",
    ],
    "05_pipes_signals_subprocesses.py": [
        "pipe: through a pipe",
        "signal: SIGUSR1",
        "child said 'A Child Process' and exited 3",
        "terminated child: SIGTERM",
    ],
    "06_loops_on_threads.py": ["the GIL", "1 loops: ", "4 loops: "],
}

OURS_ONLY = pytest.mark.asyncio_is_worse("the examples use rsloop_c")


def environment(flavour, **changes):
    return {
        **os.environ,
        **flavour.environment(),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **changes,
    }


@OURS_ONLY
@pytest.mark.parametrize("name", PROGRAMS)
def test_example(flavour, name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(EXAMPLES / name)],
        env=environment(flavour),
        cwd=tmp_path,
        timeout=15,
        text=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    rest = done.stdout
    for line in SHOWS[name]:
        assert line in rest, done.stdout
        rest = rest.partition(line)[2]
    # -X dev is debug mode, which may find a callback slow.
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr


@OURS_ONLY
def test_basics_names_its_backend(flavour):
    done = subprocess.run(
        [sys.executable, "-m", "rsloop_c", str(EXAMPLES / "01_basics.py")],
        env=environment(flavour),
        timeout=15,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert f"backend: {flavour.backend} (" in done.stdout


# --- the demo ----------------------------------------------------------------


class Demo:
    """serve.py in a child process."""

    def __init__(self, flavour, *arguments, **changes):
        for module in ("fastapi", "uvicorn", "websockets"):
            pytest.importorskip(module, reason="the demo needs rsloop_c[demo]")
        self.process = subprocess.Popen(
            [sys.executable, str(DEMO / "serve.py"), *arguments],
            env=environment(flavour, **changes),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self):
        self.said = ""
        while "stops it" not in self.said:
            line = self.process.stdout.readline()
            assert line, f"said {self.said!r} {self._errors()}"
            self.said += line
        self.host, port = re.search(r"http://([\w.:\[\]]+):(\d+)/", self.said).groups()
        self.port = int(port)
        return self

    def _errors(self):
        self.process.kill()
        return self.process.communicate()[1]

    def stop(self, number):
        """Returns the exit code, what was said since, and complaints."""
        self.process.send_signal(number)
        said, complaints = self.process.communicate(timeout=15)
        return self.process.returncode, said, complaints

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    @contextlib.contextmanager
    def client(self):
        client = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            yield client
        finally:
            client.close()

    def get(self, path):
        with self.client() as client:
            client.request("GET", path)
            response = client.getresponse()
            return response.status, response.read()


@pytest.fixture
def demo(flavour):
    with Demo(flavour, "--port", "0") as demo:
        yield demo


@OURS_ONLY
def test_demo_starts_and_stops(demo, flavour):
    assert f"backend: {flavour.backend} (" in demo.said
    assert demo.get("/json")[0] == 200
    code, said, complaints = demo.stop(signal.SIGINT)
    assert (code, said, complaints) == (0, "stopped\n", "")


@OURS_ONLY
def test_demo_answers(demo, flavour):
    status, body = demo.get("/json?name=reader")
    assert status == 200
    assert json.loads(body) == {"hello": "reader", "backend": flavour.backend}
    status, page = demo.get("/")
    assert status == 200
    # Self-contained: nothing is loaded from elsewhere.
    links = re.findall(rb"""(?:src|href)=["']?(?!data:)([^"'> ]+)""", page)
    assert not [link for link in links if link.startswith((b"http", b"//"))]


@OURS_ONLY
def test_demo_counts_and_hashes_an_upload(demo):
    piece = os.urandom(50_000)
    with demo.client() as client:
        client.request(
            "POST",
            "/upload",
            body=iter([piece] * 40),
            encode_chunked=True,
            headers={"Transfer-Encoding": "chunked"},
        )
        answer = json.loads(client.getresponse().read())
    assert answer["bytes"] == 2_000_000
    assert answer["sha256"] == hashlib.sha256(piece * 40).hexdigest()
    assert answer["pieces"] > 1


@OURS_ONLY
@pytest.mark.parametrize("size", [0, 1, 65536, 3_000_001])
def test_demo_streams_a_download(demo, size):
    status, body = demo.get(f"/download?size={size}")
    assert status == 200
    assert body == (bytes(range(256)) * (size // 256 + 1))[:size]


@OURS_ONLY
def test_demo_refuses_a_bad_size(demo):
    assert demo.get("/download?size=-1")[0] == 422


@OURS_ONLY
def test_demo_echoes_over_a_websocket(demo):
    sync = pytest.importorskip("websockets.sync.client")
    with sync.connect(f"ws://{demo.host}:{demo.port}/echo") as socket_:
        for text in ("hello", "", "x" * 300_000, "ünï"):
            socket_.send(text)
            assert socket_.recv(timeout=10) == text


@OURS_ONLY
def test_demo_shows_live_figures(demo, flavour):
    sync = pytest.importorskip("websockets.sync.client")
    demo.get("/json")
    with sync.connect(f"ws://{demo.host}:{demo.port}/live") as socket_:
        first = json.loads(socket_.recv(timeout=10))
        assert first["about"]["backend"] == flavour.backend
        assert first["about"]["loop"] == "rsloop_c.Loop"
        sample = json.loads(socket_.recv(timeout=10))["sample"]
    assert sample["requests"] >= 1
    assert sample["websockets"] == 1
    assert sample["connections"] >= 1
    assert sample["callbacks_per_s"] > 0
    assert sample["rss_bytes"] > 1 << 20


@OURS_ONLY
def test_demo_stops_with_a_page_and_a_download_open(demo):
    sync = pytest.importorskip("websockets.sync.client")
    with (
        sync.connect(f"ws://{demo.host}:{demo.port}/live") as socket_,
        socket.create_connection((demo.host, demo.port)) as stalled,
    ):
        socket_.recv(timeout=10)
        stalled.sendall(b"GET /download?size=1000000000 HTTP/1.1\r\nHost: demo\r\n\r\n")
        assert stalled.recv(12) == b"HTTP/1.1 200"
        code, said, _ = demo.stop(signal.SIGINT)
    assert (code, said) == (0, "stopped\n")


@OURS_ONLY
def test_demo_takes_a_free_port_when_its_own_is_busy(flavour):
    try:
        busy = socket.create_server(("127.0.0.1", 8000))
    except OSError:
        busy = contextlib.nullcontext()  # somebody else has it
    with busy, Demo(flavour) as demo:
        assert demo.port != 8000
        assert demo.get("/json")[0] == 200


@OURS_ONLY
def test_demo_says_when_a_chosen_port_is_busy(flavour):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        for demo in (Demo(flavour, "--port", port), Demo(flavour, PORT=port)):
            _, complaint = demo.process.communicate(timeout=15)
            assert demo.process.returncode == 1
            assert complaint.startswith(f"cannot listen on 127.0.0.1 port {port}")
