# SPDX-License-Identifier: Apache-2.0
"""TLS with programs of others, both roles: OpenSSL's s_client and s_server,
curl, GnuTLS."""

import asyncio
import hashlib
import os
import re
import socket
import ssl

import pytest

from support import LOOPBACK, Recorder
from tls import (
    TLS12,
    TLS13,
    each_version,
    of_any_loop,
    path_of,
    serving,
    trusting,
)
from tls_programs import (
    SECONDS,
    Program,
    connect,
    gnutls_cli,
    leave,
    needs,
    option_of,
    priority_of,
    s_client,
    s_server,
    serve,
)

pytestmark = of_any_loop

# --- OpenSSL ---

@needs("openssl")
@each_version
async def test_s_client(loop, version):
    async with serve(serving()) as server:
        async with s_client(server.port, option_of(version)) as program:
            program.say(b"a line\n")
            output = await program.says(b"Verify return code: 0 (ok)")
            protocol, = await server.accepting.count(1)
            assert await protocol.received(7) == b"a line\n"
            await program.says(b"a line\n")
            assert await program.ends() == 0
            assert await asyncio.wait_for(protocol.lost, SECONDS) is None
            assert b"New, TLSv" in output


@needs("openssl")
async def test_s_client_of_another_host_is_told_the_truth(loop):
    async with serve(serving()) as server:
        async with s_client(server.port, "-verify_hostname",
                            "another.name") as program:
            assert await program.ends() != 0
            assert b"ostname mismatch" in program.output
            assert server.made == []


@needs("openssl")
@each_version
async def test_s_client_with_a_certificate(loop, version):
    context = serving(verify_mode=ssl.CERT_REQUIRED)
    context.load_verify_locations(path_of("ca.pem"))
    async with serve(context) as server:
        async with s_client(server.port, option_of(version), "-cert",
                            path_of("client.pem"), "-cert_chain",
                            path_of("client.pem"), "-key",
                            path_of("ec.key")) as program:
            program.say(b"a line\n")
            protocol, = await server.accepting.count(1)
            assert await protocol.received(7) == b"a line\n"
            assert protocol.transport.get_extra_info("peercert")[
                "subject"] == ((("commonName", "client"),),)


@needs("openssl")
@each_version
async def test_s_client_comes_again_with_its_session(loop, version, tmp_path):
    async with serve(serving()) as server:
        file = str(tmp_path / "session")
        for number, option in enumerate(("-sess_out", "-sess_in")):
            async with s_client(server.port, option_of(version), option,
                                file) as program:
                program.say(b"a line\n")
                protocol = (await server.accepting.count(number + 1))[number]
                await protocol.received(7)
                await program.says(
                    b"a line\n", b"Reused, TLS" if number else b"New, TLS")
                assert await program.ends() == 0
                await asyncio.wait_for(protocol.lost, SECONDS)


@needs("openssl")
@each_version
async def test_s_server(loop, version):
    async with s_server("-rev", option_of(version)) as program:
        client = await connect(await program.port(), trusting())
        client.transport.write(b"abc\n")
        assert await client.received(4) == b"cba\n"
        client.transport.write(b"x" * 8000 + b"y\n")
        assert (await client.received(8006))[4:] == b"y" + b"x" * 8000 + b"\n"
        await leave(client)


@needs("openssl")
@each_version
async def test_s_server_with_an_rsa_key(loop, version):
    """In TLS 1.2 its signature is one that clients of TLS 1.3 have offered."""
    async with s_server("-rev", option_of(version), "-cert",
                        path_of("rsa.pem"), "-cert_chain", path_of("rsa.pem"),
                        "-key", path_of("rsa.key")) as program:
        try:
            client = await connect(await program.port(), trusting())
        except ssl.SSLError:
            if version == TLS13 or os.environ.get("RSLOOP_C_TLS") != "mbedtls":
                raise
            pytest.skip("mbedTLS 3.6.6 has a fault here: its issue 10668")
        client.transport.write(b"abc\n")
        assert await client.received(4) == b"cba\n"
        await leave(client)


@needs("openssl")
async def test_s_server_wants_another_group(loop):
    """A HelloRetryRequest: the client's first share is of another one."""
    async with s_server("-rev", "-tls1_3", "-groups", "P-384") as program:
        client = await connect(await program.port(), trusting())
        client.transport.write(b"abc\n")
        assert await client.received(4) == b"cba\n"
        await leave(client)


@needs("openssl")
@each_version
async def test_s_server_wants_a_certificate(loop, version):
    context = trusting()
    context.load_cert_chain(path_of("client.pem"), path_of("ec.key"))
    async with s_server("-rev", option_of(version), "-Verify", "3",
                        "-verify_return_error", "-CAfile",
                        path_of("ca.pem")) as program:
        client = await connect(await program.port(), context)
        client.transport.write(b"abc\n")
        assert await client.received(4) == b"cba\n"
        await leave(client)


@needs("openssl")
@each_version
async def test_s_server_sends_a_file(loop, version, tmp_path):
    data = os.urandom(1_000_000)
    (tmp_path / "file").write_bytes(data)
    async with s_server("-WWW", option_of(version), cwd=tmp_path) as program:
        client = await connect(await program.port(), trusting())
        client.transport.write(b"GET /file HTTP/1.0\r\n\r\n")
        await asyncio.wait_for(asyncio.shield(client.lost), SECONDS)
        head, _, body = bytes(client.data).partition(b"\r\n\r\n")
        assert b"200 ok" in head
        assert hashlib.sha256(body).digest() == hashlib.sha256(data).digest()


# --- curl ---

class Http(Recorder):
    """Answers a GET with a megabyte, and a PUT with its digest."""

    body = bytes(range(256)) * 4096

    def data_received(self, data):
        super().data_received(data)
        head, found, rest = bytes(self.data).partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if not found or length and len(rest) < int(length.group(1)):
            return
        answer = hashlib.sha256(rest).hexdigest().encode() if length else (
            self.body)
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: "
            + str(len(answer)).encode() + b"\r\n\r\n")
        self.transport.write(answer)
        self.transport.close()


async def curl(port, version, *options):
    limits = (["--tls-max", "1.2"] if version == TLS12
              else ["--tlsv1.3"])
    async with Program(
            "curl", "--silent", "--show-error", "--http1.1", "--noproxy", "*",
            "--cacert", path_of("ca.pem"), *limits, "--resolve",
            f"localhost:{port}:{LOOPBACK}", *options,
            f"https://localhost:{port}/") as program:
        status = await program.ends()
        return status, program.output


@needs("curl")
@each_version
async def test_curl_gets(loop, version):
    async with serve(serving(), Http) as server:
        assert await curl(server.port, version) == (0, Http.body)


@needs("curl")
@each_version
async def test_curl_puts(loop, version, tmp_path):
    data = os.urandom(1_000_000)
    (tmp_path / "file").write_bytes(data)
    async with serve(serving(), Http) as server:
        assert await curl(server.port, version, "--upload-file",
                          str(tmp_path / "file"), "--header", "Expect:") == (
            0, hashlib.sha256(data).hexdigest().encode())


@needs("curl")
@pytest.mark.parametrize("chain", ["expired", "self", "nameless"])
async def test_curl_refuses_bad_certificates(loop, chain):
    CANNOT_VERIFY = 60
    async with serve(serving(chain), Http) as server:
        status, output = await curl(server.port, TLS13)
        # Without a name curl takes the common one.
        assert status == (0 if chain == "nameless" and output == Http.body
                          else CANNOT_VERIFY)


# --- GnuTLS ---

@needs("gnutls-cli")
@each_version
async def test_gnutls_cli(loop, version):
    async with serve(serving()) as server:
        async with gnutls_cli(server.port, priority_of(version)) as program:
            await program.says(b"Handshake was completed")
            assert b"The certificate is trusted" in program.output
            program.say(b"a line\n")
            protocol, = await server.accepting.count(1)
            assert await protocol.received(7) == b"a line\n"
            await program.says(b"a line\n")
            assert await program.ends() == 0
            assert await asyncio.wait_for(protocol.lost, SECONDS) is None


@needs("gnutls-cli")
@each_version
async def test_gnutls_cli_resumes(loop, version):
    async with serve(serving()) as server:
        async with gnutls_cli(server.port, priority_of(version), "--resume",
                              "--waitresumption") as program:
            # It ends the first connection by itself and comes again.
            output = await program.says(b"This is a resumed session")
            assert output.count(b"Handshake was completed") >= 1


def free_port():
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        return sock.getsockname()[1]


async def gnutls_serv(*options):
    """It cannot choose a port by itself, so that somebody may be first."""
    for _ in range(5):
        port = free_port()
        program = Program(
            "gnutls-serv", "--echo", "--port", str(port), "--x509certfile",
            path_of("ec.pem"), "--x509keyfile", path_of("ec.key"), *options)
        try:
            await program.says(b"Echo Server listening on IPv4", b"done")
            return program, port
        except AssertionError:
            await program.__aexit__()
    raise AssertionError("no port for gnutls-serv")


@needs("gnutls-serv")
@each_version
async def test_gnutls_serv(loop, version):
    program, port = await gnutls_serv(priority_of(version))
    async with program:
        client = await connect(port, trusting())
        said = b""
        for size in (1, 100, 1000):
            line = b"x" * size + b"\n"
            said += line
            client.transport.write(line)
            assert await client.received(len(said)) == said
        await leave(client)


@needs("gnutls-serv")
@each_version
async def test_gnutls_serv_wants_a_certificate(loop, version):
    context = trusting()
    context.load_cert_chain(path_of("client.pem"), path_of("ec.key"))
    program, port = await gnutls_serv(
        priority_of(version), "--require-client-cert", "--verify-client-cert",
        "--x509cafile", path_of("ca.pem"))
    async with program:
        client = await connect(port, context)
        client.transport.write(b"line\n")
        assert await client.received(5) == b"line\n"
        await leave(client)
