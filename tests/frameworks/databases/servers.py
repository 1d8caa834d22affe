# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL and Redis, each in a temporary folder, for as long as the tests run.

They run as an unprivileged user (PostgreSQL refuses root), on a free TCP port of
127.0.0.1 and on a unix socket, and PostgreSQL with TLS too.
"""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

START_SECONDS = 60
PASSWORD = "a password"


class Missing(Exception):
    """The server is not installed."""


class Server:
    def __init__(self, folder, port, path):
        self.folder = folder
        self.port = port
        self.path = path  # of the unix socket or of its folder
        self.ca_file = os.path.join(folder, "ca.pem")


def user_options():
    """For subprocess: who runs a server. Root lends the name nobody."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid,
            "extra_groups": []}


def find(name, *patterns):
    """The path of a program, the newest where there are several."""
    for pattern in patterns:
        found = sorted(glob.glob(os.path.join(pattern, name)))
        if found:
            return found[-1]
    found = shutil.which(name)
    if found is None:
        raise Missing(f"no {name}: scripts/test-frameworks installs it")
    return found


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextlib.contextmanager
def private_folder(name):
    # Short, as a unix socket's path has to be.
    with tempfile.TemporaryDirectory(prefix=name, dir="/tmp") as folder:
        own(folder)
        yield folder


def own(path, mode=0o700):
    os.chmod(path, mode)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)
    own(path, 0o600)


def certify(certificate, key):
    """A certificate of localhost that is signed by itself."""
    subprocess.run(
        [find("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-out", certificate,
         "-keyout", key,
         "-addext", "keyUsage=critical,digitalSignature,keyCertSign",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True)
    for path in (certificate, key):
        own(path, 0o600)


@contextlib.contextmanager
def process(command, log, stop_with):
    with open(log, "wb") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            cwd="/", **user_options())
    try:
        yield child
    finally:
        child.send_signal(stop_with)
        try:
            child.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_for(answers, child, log):
    end = time.monotonic() + START_SECONDS
    while not answers():
        if child.poll() is not None or time.monotonic() > end:
            with open(log) as file:
                raise RuntimeError("does not start:\n" + file.read()[-3000:])
        time.sleep(0.05)


def connects(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def postgresql():
    where = "/usr/lib/postgresql/*/bin"
    initdb, postgres = find("initdb", where), find("postgres", where)
    ready = find("pg_isready", where)
    with private_folder("rsl-pg-") as folder:
        data, port = os.path.join(folder, "data"), free_port()
        password = os.path.join(folder, "password")
        write(password, PASSWORD.encode())
        subprocess.run(
            [initdb, "--no-sync", "--username=tester", "--encoding=UTF8",
             "--locale=C", "--auth=scram-sha-256", f"--pwfile={password}",
             f"--pgdata={data}"],
            check=True, cwd="/", stdout=subprocess.DEVNULL, **user_options())
        certify(os.path.join(data, "server.crt"),
                os.path.join(data, "server.key"))
        shutil.copy(os.path.join(data, "server.crt"),
                    os.path.join(folder, "ca.pem"))
        log = os.path.join(folder, "log")
        command = [postgres, "-D", data, "-p", str(port), "-k", folder]
        for setting in ("listen_addresses=127.0.0.1", "fsync=off", "ssl=on",
                        "max_connections=50", "shared_buffers=16MB"):
            command += ["-c", setting]
        with process(command, log, signal.SIGINT) as child:
            wait_for(lambda: subprocess.call(
                [ready, "-q", "-h", folder, "-p", str(port)],
                cwd="/", **user_options()) == 0, child, log)
            yield Server(folder, port, folder)


@contextlib.contextmanager
def redis():
    program = find("redis-server")
    with private_folder("rsl-redis-") as folder:
        port, path = free_port(), os.path.join(folder, "socket")
        log = os.path.join(folder, "log")
        command = [
            program, "--port", str(port), "--bind", "127.0.0.1",
            "--unixsocket", path, "--dir", folder, "--save", "",
            "--appendonly", "no", "--requirepass", PASSWORD]
        with process(command, log, signal.SIGTERM) as child:
            wait_for(lambda: os.path.exists(path) and connects(port),
                     child, log)
            yield Server(folder, port, path)
