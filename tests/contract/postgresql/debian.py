"""Debian's PostgreSQL with TLS and other sign-in rules, for the tests; its programs are built with TLS."""

import contextlib
import datetime
import ipaddress
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from storage_core.domain.provider import Endpoint

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
#: The server lives as long as somebody holds the guard's input.
GUARD = 'exec 3<&0; "$@" </dev/null 3<&- & p=$!; (read _ <&3; kill -INT $p) & wait $p'
NOT_ROOT = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
HBA = """
hostssl all tls_only 127.0.0.1/32 scram-sha-256
hostnossl all plain_only 127.0.0.1/32 scram-sha-256
host all postgres 127.0.0.1/32 scram-sha-256
"""
Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class DebianServer:
    """Its certificate is for `localhost` only; `authority` is the PEM text of who signed it."""

    endpoint: Endpoint
    password: str
    authority: str
    other_authority: str


def certificate(
    name: str, key: Key, issuer: x509.Name | None, issuer_key: Key, hosts: list[str]
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if hosts:
        names = [
            x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
            for host in hosts
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def pem(found: x509.Certificate) -> str:
    return found.public_bytes(serialization.Encoding.PEM).decode()


@contextlib.contextmanager
def running(place: Path) -> Iterator[DebianServer]:
    """A server below `place` until the context ends."""
    binaries, data = BINARIES[-1], place / "data"
    password = secrets.token_urlsafe(12)
    (place / "password").write_text(password)
    subprocess.run(
        [*NOT_ROOT, binaries / "initdb", "-D", data, "-U", "postgres", "--auth=scram-sha-256", "--encoding=UTF8",
         f"--pwfile={place / 'password'}", "--no-locale", "--no-sync"],
        check=True, capture_output=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    authority_key, server_key = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    authority = certificate("Test authority", authority_key, None, authority_key, [])
    server = certificate("localhost", server_key, authority.subject, authority_key, ["localhost"])
    other = certificate("Other authority", server_key, None, server_key, [])
    (data / "server.crt").write_text(pem(server))
    (data / "server.key").touch(mode=0o600)
    (data / "server.key").write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    (data / "pg_hba.conf").write_text(HBA)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "ssl": "on",
        "fsync": "off",
    }
    command = [*NOT_ROOT, binaries / "postgres", "-D", data]
    command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "sh", *map(str, command)],
            stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd="/",
        )  # fmt: skip
    try:
        await_ready(data, process)
        endpoint = Endpoint(host="localhost", port=port, user="postgres", database="postgres")
        yield DebianServer(endpoint, password, pem(authority), pem(other))
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)


def await_ready(data: Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError):
            if (data / "postmaster.pid").read_text().rstrip().endswith("ready"):
                return
        assert process.poll() is None, "the server ended at once"
        time.sleep(0.05)
    raise TimeoutError("the server does not get ready")
