"""Signing in under load: what a hundred at once do to everybody else, and whether a name's existence can be timed."""

import asyncio
import gc
import ssl
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count

import httpx

from benchmarks.startup import PASSWORD, started

AT_ONCE = 100
LISTENERS = 4
PEOPLE = 24
GUESSES = 8  # of each person, below what slows an account down
BYSTANDERS_MS = 1000.0
TELLS_MS = 5.0

_TLS = ssl.create_default_context()
_addresses = (f"203.0.{n // 250}.{n % 250 + 1}" for n in count())


async def run(size_mb: int) -> dict[str, float | str]:
    """Milliseconds of other requests beside 100 parallel sign-ins, and of refused sign-ins by whether the name exists."""
    async with started(STORAGE_TRUSTED_PROXIES="127.0.0.1") as (url, _), client(url) as root:
        await root.post("/api/auth/login", json={"username": "admin", "password": PASSWORD})
        for n in range(PEOPLE):
            made = {"username": f"person-{n}", "password": f"{PASSWORD}-{n}", "role": "Viewer"}
            (await root.post("/api/storage/users/create", json=made)).raise_for_status()
        quiet = await beside(root, asyncio.sleep(3))
        async with AsyncExitStack() as stack:
            # Made before: a hundred clients at once are a load of their own, on this side.
            browsers = [await stack.enter_async_context(client(url)) for _ in range(AT_ONCE)]
            begun = time.perf_counter()
            work = asyncio.gather(*(sign_in(http, n % PEOPLE) for n, http in enumerate(browsers)))
            busy = await beside(root, work)
            seconds = time.perf_counter() - begun
        known, unknown = await guessed(url)
    tells = abs(statistics.median(known) - statistics.median(unknown))
    return {
        "others_p50_quiet_ms": percentile(quiet, 50),
        "others_p99_quiet_ms": percentile(quiet, 99),
        "others_p50_ms": percentile(busy, 50),
        "others_p99_ms": percentile(busy, 99),
        "others_asked": len(busy),
        "sign_ins_s": seconds,
        "known_ms": statistics.median(known),
        "unknown_ms": statistics.median(unknown),
        "difference_ms": tells,
        "others_p99_below_1_s": str(percentile(busy, 99) < BYSTANDERS_MS),
        "difference_below_5_ms": str(tells < TELLS_MS),
    }


@asynccontextmanager
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A browser behind a proxy, from an address of its own."""
    headers = {
        "X-Forwarded-For": next(_addresses),
        "X-Forwarded-Proto": "https",
        "Origin": url.replace("http:", "https:"),
    }
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120, verify=_TLS) as http:
        http.event_hooks["response"] = [_keep_cookies(http)]
        yield http


def _keep_cookies(http: httpx.AsyncClient):
    """The proxy speaks https to its visitors: their cookies are Secure, and httpx would keep them back from us."""

    async def keep(response: httpx.Response) -> None:
        for name, value in response.cookies.items():
            http.headers["Cookie"] = f"{name}={value}"

    return keep


async def sign_in(http: httpx.AsyncClient, n: int) -> None:
    given = {"username": f"person-{n}", "password": f"{PASSWORD}-{n}"}
    (await http.post("/api/auth/login", json=given)).raise_for_status()


async def beside(http: httpx.AsyncClient, work) -> list[float]:
    """Milliseconds of reads that go on all the time until the work is done."""
    took: list[float] = []
    task = asyncio.ensure_future(work)

    async def listen() -> None:
        while not task.done():
            begun = time.perf_counter()
            (await http.get("/api/storage/tenants/list")).raise_for_status()
            took.append((time.perf_counter() - begun) * 1000)

    async with asyncio.TaskGroup() as group:
        for _ in range(LISTENERS):
            group.create_task(listen())
    await task
    return took


async def guessed(url: str) -> tuple[list[float], list[float]]:
    """Milliseconds of wrong passwords for names that exist and names that do not, in turn, each from a new address."""
    known: list[float] = []
    unknown: list[float] = []
    gc.disable()
    for n in range(GUESSES):
        for person in range(PEOPLE):
            turns = [(known, f"person-{person}"), (unknown, f"nobody-{person}")]
            for took, name in turns if (n + person) % 2 else reversed(turns):
                async with client(url) as http:
                    await http.get("/health/live")  # the connection itself is not measured
                    begun = time.perf_counter()
                    answer = await http.post(
                        "/api/auth/login", json={"username": name, "password": f"guess {n}"}
                    )
                    took.append((time.perf_counter() - begun) * 1000)
                    assert answer.status_code == 401, answer.text
    gc.enable()
    return known, unknown


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]
