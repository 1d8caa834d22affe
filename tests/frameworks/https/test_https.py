# SPDX-License-Identifier: Apache-2.0
"""Each client with each server, both on the loop."""

import asyncio
import contextlib
import hashlib
import os
import socket
import ssl
from pathlib import Path

import aiohttp
import httpx
import pytest
import uvicorn
from aiohttp import web

import rsloop_c

CERTIFICATES = Path(__file__).parents[2] / "runtime" / "tls_certs"
BODY = os.urandom(1 << 20)


def server_context(version, chain="ec", **attributes):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / f"{chain}.pem",
                            CERTIFICATES / "ec.key")
    context.load_verify_locations(CERTIFICATES / "ca.pem")
    context.minimum_version = context.maximum_version = version
    for name, value in attributes.items():
        setattr(context, name, value)
    return context


def client_context(certificate=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CERTIFICATES / "ca.pem")
    if certificate:
        context.load_cert_chain(CERTIFICATES / f"{certificate}.pem",
                                CERTIFICATES / "ec.key")
    return context


# --- servers: GET gives BODY, POST the digest of what came ---

async def answer(request):
    # Else nothing here would be about rsloop_c's TLS.
    loop = asyncio.get_running_loop()
    engine = request.transport.get_extra_info("tls_engine")
    assert isinstance(loop, rsloop_c.Loop) == (engine is not None)
    if request.method == "POST":
        digest = hashlib.sha256(await request.read()).hexdigest()
        return web.Response(text=digest)
    return web.Response(body=BODY)


async def echo_messages(request):
    messages = web.WebSocketResponse()
    await messages.prepare(request)
    async for message in messages:
        await messages.send_bytes(message.data)
    return messages


@contextlib.asynccontextmanager
async def aiohttp_server(context):
    application = web.Application(client_max_size=1 << 24)
    application.router.add_route("*", "/", answer)
    application.router.add_get("/messages", echo_messages)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    received, more = bytearray(), True
    while more:
        message = await receive()
        received += message.get("body", b"")
        more = message.get("more_body", False)
    body = BODY if scope["method"] == "GET" else (
        hashlib.sha256(received).hexdigest().encode())
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def uvicorn_server(context):
    config = uvicorn.Config(
        application, log_level="warning", lifespan="off",
        ssl_certfile=str(CERTIFICATES / "ec.pem"),
        ssl_keyfile=str(CERTIFICATES / "ec.key"))
    config.load()
    config.ssl = context
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task


# --- clients ---

@contextlib.asynccontextmanager
async def aiohttp_client(context):
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        async def fetch(url, data=None):
            method = "GET" if data is None else "POST"
            async with session.request(method, url, data=data) as response:
                assert response.status == 200
                return await response.read()

        yield fetch


@contextlib.asynccontextmanager
async def httpx_client(context):
    async with httpx.AsyncClient(verify=context, trust_env=False,
                                 timeout=60) as client:
        async def fetch(url, data=None):
            response = await (client.get(url) if data is None
                              else client.post(url, content=data))
            assert response.status_code == 200
            return response.content

        yield fetch


each_server = pytest.mark.parametrize("server", [
    aiohttp_server, uvicorn_server], ids=["aiohttp", "uvicorn"])
each_client = pytest.mark.parametrize("client", [
    aiohttp_client, httpx_client], ids=["aiohttp", "httpx"])
each_version = pytest.mark.parametrize("version", [
    ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
TLS13 = ssl.TLSVersion.TLSv1_3


@each_server
@each_client
@each_version
async def test_get_and_post(server, client, version):
    async with server(server_context(version)) as port, (
            client(client_context())) as fetch:
        url = f"https://localhost:{port}/"
        assert await fetch(url) == BODY
        data = os.urandom(3 << 20)
        assert await fetch(url, data) == (
            hashlib.sha256(data).hexdigest().encode())
        assert await fetch(url) == BODY


@each_server
@each_client
async def test_many_requests_at_once(server, client):
    async with server(server_context(TLS13)) as port, (
            client(client_context())) as fetch:
        url = f"https://localhost:{port}/"
        bodies = [os.urandom(1000 * number) for number in range(1, 41)]
        answers = await asyncio.gather(*(fetch(url, body) for body in bodies))
        assert answers == [hashlib.sha256(body).hexdigest().encode()
                           for body in bodies]


@each_server
@each_client
async def test_client_certificate(server, client):
    context = server_context(TLS13, verify_mode=ssl.CERT_REQUIRED)
    async with server(context) as port:
        url = f"https://localhost:{port}/"
        async with client(client_context("client")) as fetch:
            assert await fetch(url) == BODY
        async with client(client_context()) as fetch:
            with pytest.raises((aiohttp.ClientError, httpx.HTTPError,
                                ssl.SSLError)):
                await fetch(url)


@each_server
@pytest.mark.parametrize("chain", ["expired", "self"])
async def test_bad_certificates_are_refused(server, chain):
    async with server(server_context(TLS13, chain)) as port:
        url = f"https://localhost:{port}/"
        async with aiohttp_client(client_context()) as fetch:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await fetch(url)
        async with httpx_client(client_context()) as fetch:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY"):
                await fetch(url)


async def test_messages_by_websocket():
    async with aiohttp_server(server_context(TLS13)) as port:
        connector = aiohttp.TCPConnector(ssl=client_context())
        async with aiohttp.ClientSession(connector=connector) as session, (
                session.ws_connect(
                    f"https://localhost:{port}/messages")) as messages:
            for size in (1, 125, 70_000, 1_000_000):
                data = os.urandom(size)
                await messages.send_bytes(data)
                assert await messages.receive_bytes() == data
