# SPDX-License-Identifier: Apache-2.0
"""A small FastAPI application: JSON, streaming both ways, a websocket, and a
page with live figures of the loop that serves it.

serve.py runs it; so does, from this folder:

    uvicorn app:app --loop rsloop_c:new_event_loop
"""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse, StreamingResponse
from figures import Count, Figures
from starlette.requests import ClientDisconnect

PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
BLOCK = bytes(range(256)) * 256

figures = Figures()


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    sampling = asyncio.create_task(figures.run())
    yield
    sampling.cancel()


app = FastAPI(title="rsloop_c demo", lifespan=lifespan)
app.add_middleware(Count, figures=figures)


@app.get("/", response_class=HTMLResponse, include_in_schema=False)
async def page() -> str:
    return PAGE


@app.get("/json")
async def json(name: str = "world") -> dict[str, Any]:
    return {"hello": name, "backend": figures.about()["backend"]}


@app.post("/upload")
async def upload(request: Request) -> dict[str, Any]:
    """Count and hash a body of any size as it arrives, keeping none of it."""
    started = time.perf_counter()
    digest = hashlib.sha256()
    size = pieces = 0
    # Who goes away in the middle gets no answer, and that is no error.
    with contextlib.suppress(ClientDisconnect):
        async for piece in request.stream():
            digest.update(piece)
            size += len(piece)
            pieces += bool(piece)
    return {
        "bytes": size,
        "pieces": pieces,
        "sha256": digest.hexdigest(),
        "seconds": round(time.perf_counter() - started, 4),
    }


@app.get("/download")
async def download(
    size: Annotated[int, Query(ge=0, le=1 << 34)] = 16 << 20,
) -> StreamingResponse:
    """Send `size` bytes in blocks of 64 KiB, as fast as the client reads."""

    async def blocks() -> AsyncIterator[bytes]:
        left = size
        while left > 0:
            yield BLOCK[:left]
            left -= len(BLOCK)

    return StreamingResponse(
        blocks(),
        media_type="application/octet-stream",
        headers={"content-length": str(size)},
    )


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await websocket.send_text(await websocket.receive_text())


@app.websocket("/live")
async def live(websocket: WebSocket) -> None:
    """The last minute at once, then a sample a second."""
    await websocket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        await websocket.send_json(
            {"about": figures.about(), "history": list(figures.history)}
        )
        while True:
            await websocket.send_json({"sample": await figures.next()})
