# SPDX-License-Identifier: Apache-2.0
"""The programs and commands of docs/observability.md and docs/limits.md do what
the pages say, as they stand, in a folder where nothing else is."""

import contextlib
import os
import random
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from support import PATIENCE, slowness

DOCS = Path(__file__).resolve().parents[2] / "docs"
pytestmark = pytest.mark.asyncio_is_worse("the documents are about rsloop_c")

# Of each program: a piece that no other one has, and what it has to say.
SAYS = {
    "watchdog = 0.2": r"has been stuck for \S+ s\n"
                      r'.*File "\S*program.py", line 9 in main',
    'stats["lag"]': r"^\d+ turns; the longest took \S+ s\n",
    'profile("profile.html")': r"^$",
    "flight_recorder = 50": r"data_received\(\) call failed.*flight_recorder: *\n"
                            r".* connected\n.* read 10\n.* error\n",
    "max_write_buffer_bytes": r"^0 connections\n0 had to be aborted\n$",
}


def programs(page):
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(),
                      re.DOTALL | re.MULTILINE)


def is_server(program):
    return program.startswith("# server.py\n")


PROGRAMS = [program for page in ("observability.md", "limits.md")
            for program in programs(page) if not is_server(program)]


def environment(flavour, **more):
    return {**os.environ, **flavour.environment(), "PYTHONUNBUFFERED": "1", **more}


def test_each_program_is_known_here():
    found = [[piece for piece in SAYS if piece in program] for program in PROGRAMS]
    assert sorted(sum(found, [])) == sorted(SAYS)
    assert all(len(pieces) == 1 for pieces in found)


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_program_does_what_the_page_says(flavour, tmp_path, program):
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=environment(flavour),
        text=True, capture_output=True)
    said = done.stdout + done.stderr
    expected, = (text for piece, text in SAYS.items() if piece in program)
    assert done.returncode == 0, said
    assert re.search(expected, said, re.DOTALL), said
    if "profile.html" in program:
        assert "worker (program.py:" in (tmp_path / "profile.html").read_text()


# --- server.py and its commands ----------------------------------------------

PAGE = (DOCS / "observability.md").read_text()


def command(start):
    """A command of the page, without its indentation and `&`."""
    line, = (line.strip().removesuffix(" &") for line in PAGE.splitlines()
             if line.startswith("    " + start))
    return line


def free_port():
    """One that the kernel does not give to others meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Server:
    """server.py, started as the page says, but for its ports."""

    def __init__(self, folder, flavour, start):
        self.ports = {"8888": str(free_port()), "9000": str(free_port())}
        program, = filter(is_server, programs("observability.md"))
        (folder / "server.py").write_text(self.local(program))
        setting, _, self.command = self.local(command(start)).partition(" ")
        assert self.command == "python server.py"
        name, _, value = setting.partition("=")
        self.folder, self.environment = folder, environment(
            flavour, XDG_RUNTIME_DIR=str(folder), **{name: value})

    def local(self, text):
        for port, free in self.ports.items():
            text = text.replace(port, free)
        return text

    def run(self, text):
        return subprocess.run(
            text, shell=True, cwd=self.folder, env=self.environment, text=True,
            capture_output=True, timeout=PATIENCE * slowness())

    def __enter__(self):
        with open(self.folder / "said", "w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "server.py"], cwd=self.folder,
                env=self.environment, stdout=said, stderr=said)
        address = ("127.0.0.1", int(self.ports["8888"]))
        self.until(lambda: self.connects(address))
        return self

    @staticmethod
    def connects(address):
        try:
            socket.create_connection(address).close()
        except OSError:
            return False
        return True

    def said(self):
        return (self.folder / "said").read_text()

    def until(self, ready):
        deadline = time.monotonic() + PATIENCE * slowness()
        while not ready():
            assert time.monotonic() < deadline, self.said()
            assert self.process.poll() is None, self.said()
            time.sleep(0.01)

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()


def test_the_watchdog_names_the_line_of_the_server(flavour, tmp_path):
    with Server(tmp_path, flavour, "RSLOOP_C_WATCHDOG") as server:
        block = command('python -c "import socket').replace("python", sys.executable, 1)
        done = server.run(server.local(block))
        assert done.returncode == 0, done.stderr
        server.until(lambda: "in handle" in server.said())
        expected = re.search(r'File "server.py", line (\d+) in handle', PAGE)[1]
        assert re.search(
            rf'stuck for 1\.\d+ s\n.*server.py", line {expected} in handle',
            server.said(), re.DOTALL)


def test_the_metrics_are_where_the_page_says(flavour, tmp_path):
    with Server(tmp_path, flavour, "RSLOOP_C_METRICS=127") as server:
        url = server.local(command("curl ")).partition(" ")[2]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=PATIENCE * slowness()) as page:
            text = page.read().decode()
    assert "rsloop_c_turns_total" in text and text.endswith("# EOF\n")


def test_top_shows_the_server(flavour, tmp_path, monkeypatch):
    with Server(tmp_path, flavour, "RSLOOP_C_METRICS=pid") as server:
        top = command("python -m rsloop_c.top $!")
        top = top.replace("python", sys.executable, 1).replace("$!", "{} -c 1")
        done = server.run(top.format(server.process.pid))
    assert done.returncode == 0, done.stderr
    assert "waits" in done.stdout and "backend" in done.stdout
