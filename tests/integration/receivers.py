"""Who is told: a web hook and a mail server on this machine, small and real."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Hook:
    """What was posted: headers in small letters, and bodies; answers `status`."""

    url: str = ""
    status: int = 204
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, body in self.posts]


@asynccontextmanager
async def a_hook() -> AsyncIterator[Hook]:
    hook = Hook()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        hook.posts.append((headers, await reader.readexactly(int(headers.get("content-length", 0)))))
        writer.write(f"HTTP/1.1 {hook.status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        hook.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/secret-path"
        yield hook


@dataclass
class Post:
    """What was handed in: sender, recipients, message."""

    port: int = 0
    mails: list[tuple[str, list[str], str]] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def a_post_office(*, silent: bool = False) -> AsyncIterator[Post]:
    """`silent`: it begins a line and never ends it, a letter now and then."""
    office = Post()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender, recipients = "", []
        if silent:
            while not reader.at_eof():
                writer.write(b"2")
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await reader.read()
            office.left.set()
            writer.close()
            return
        writer.write(b"220 here\r\n")
        while line := (await reader.readline()).decode().strip():
            word = line.upper()
            if word.startswith("MAIL FROM:"):
                sender = line[10:].split()[0].strip("<>")
            elif word.startswith("RCPT TO:"):
                recipients.append(line[8:].strip("<>"))
            elif word == "DATA":
                writer.write(b"354 go on\r\n")
                message = (await reader.readuntil(b"\r\n.\r\n")).decode()
                office.mails.append((sender, recipients, message))
            writer.write(b"221 bye\r\n" if word == "QUIT" else b"250 ok\r\n")
            await writer.drain()
            if word == "QUIT":
                break
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        office.port = server.sockets[0].getsockname()[1]
        yield office
