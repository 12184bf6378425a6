"""Compiles the pages into `storage_console/_frontend/`, unless nothing they depend on has changed."""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
WEB = ROOT / ".web"
FRONTEND = ROOT / "storage_console" / "_frontend"
FINGERPRINT = FRONTEND / "fingerprint"
SOURCES = [
    "storage_console/**/*.py",
    "storage_core/**/*.py",
    "assets/**/*",
    "rxconfig.py",
    "requirements/run.txt",
    "scripts/build_frontend.py",
]
NETWORK = ("EAI_AGAIN", "ECONNRESET", "ECONNREFUSED", "ENOTFOUND", "ETIMEDOUT", "socket hang up", "HTTP 5")
ATTEMPTS = 3


def digest(patterns: list[str]) -> str:
    """Hashes names and contents of the files the patterns find."""
    total = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in ROOT.glob(pattern)}):
        if path.is_file() and FRONTEND not in path.parents:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{path.relative_to(ROOT).as_posix()} {content}\n".encode())
    return total.hexdigest()


def fingerprint(sources: str | None = None) -> str:
    """Combines the sources' digest with the npm lock's, which the build itself may write."""
    return f"{sources or digest(SOURCES)} {digest(['reflex.lock/*'])}\n"


def environment() -> dict[str, str]:
    """Returns the environment of the export: our Node first, and npm told what Reflex's own .npmrc overrides."""
    env = dict(os.environ)
    env["PATH"] = f"{BIN}{os.pathsep}{env.get('PATH', '')}"
    env["NODE_USE_SYSTEM_CA"] = "1"
    registry = subprocess.run(
        [BIN / "npm", "config", "get", "registry"],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    env.update(
        {
            "REFLEX_DIR": str(WEB / "reflex"),
            "REFLEX_USE_NPM": "1",
            "REFLEX_TELEMETRY_ENABLED": "false",
            "REFLEX_CHECK_LATEST_VERSION": "false",
            "NPM_CONFIG_REGISTRY": registry,
            "npm_config_fetch_retries": "5",
            # else every build writes registry addresses into reflex.lock
            "npm_config_omit_lockfile_registry_resolved": "true",
        }
    )
    return env


def export() -> None:
    """Runs Reflex's export; repeats it when the network failed."""
    env = environment()
    command = [BIN / "reflex", "export", "--frontend-only", "--no-zip"]
    for attempt in range(1, ATTEMPTS + 1):
        done = subprocess.run(
            command,
            check=False,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode == 0:
            return
        print(done.stdout, file=sys.stderr)
        if attempt == ATTEMPTS or not any(sign in done.stdout for sign in NETWORK):
            sys.exit(f"frontend: reflex export failed with status {done.returncode}")
        time.sleep(3 * attempt)


def collect(mark: str) -> None:
    """Moves what the running console needs from `.web` into the package, all of it or nothing."""
    fresh = FRONTEND.with_name("_frontend.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(WEB / "build" / "client", fresh / "build" / "client")
    (fresh / "backend").mkdir()
    for path in (WEB / "backend").glob("*.json"):
        shutil.copy2(path, fresh / "backend" / path.name)
    (fresh / "fingerprint").write_text(mark, "utf-8")
    shutil.rmtree(FRONTEND, ignore_errors=True)
    fresh.rename(FRONTEND)


def main() -> None:
    """Builds when needed; `--force` builds always, from a clean folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--force", action="store_true", help="build even when nothing changed, without leftovers"
    )
    force = parser.parse_args().force
    with FileLock(ROOT / ".web.lock"):
        if not force and FINGERPRINT.exists() and FINGERPRINT.read_text("utf-8") == fingerprint():
            print("frontend: up to date")
            return
        begun = time.monotonic()
        if force:
            shutil.rmtree(WEB, ignore_errors=True)
        sources = digest(SOURCES)  # before the build: what changes meanwhile counts for the next one
        export()
        collect(fingerprint(sources))
        print(f"frontend: built in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
