"""MongoDB behind TLS: every mode works, every mismatch is named."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from storage_core.domain.errors import TlsMismatch
from storage_core.domain.provider import Endpoint, StepStatus, TlsMode
from storage_core.providers.mongodb.engine import MongoEngine
from tests.contract.mongodb.support import failing, mongod

pytestmark = pytest.mark.servers


@dataclass(frozen=True)
class Authority:
    pem: str
    server_file: Path


def certificates(folder: Path, host: str) -> Authority:
    """A self-made authority and a server's certificate for `host`."""

    def build(
        name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, ca: bool
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    usage = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
            *("key_agreement", "encipher_only", "decipher_only"),
        ),
        False,
    )
    root = (
        build("test authority", issuer, root_key, ca=True)
        .add_extension(x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    names: list[x509.GeneralName] = [x509.DNSName(host)]
    with contextlib.suppress(ValueError):
        names = [x509.IPAddress(ip_address(host))]
    server = (
        build("server", issuer, key, ca=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False
        )
        .sign(root_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "server.pem"
    file.write_bytes(private + server.public_bytes(serialization.Encoding.PEM))
    return Authority(root.public_bytes(serialization.Encoding.PEM).decode(), file)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A server that accepts only TLS, with a certificate for 127.0.0.1 (and not for localhost)."""
    folder = tmp_path_factory.mktemp("secured")
    authority = certificates(folder, "127.0.0.1")
    options = ("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(authority.server_file))
    with mongod(folder, *options) as endpoint:
        yield replace(endpoint, tls_ca=authority.pem)


@pytest.mark.parametrize("mode", (TlsMode.REQUIRE, TlsMode.VERIFY_CA, TlsMode.VERIFY_FULL))
async def test_every_tls_mode_works(secured: Endpoint, mode: TlsMode) -> None:
    engine = MongoEngine(replace(secured, tls=mode), None)
    assert [s.status for s in await engine.check()] == [StepStatus.PASSED] * 5
    assert (await engine.health()).online
    await engine.close()


async def test_verify_ca_ignores_the_host_name_and_verify_full_does_not(secured: Endpoint) -> None:
    by_name = replace(secured, host="localhost")
    lax = MongoEngine(replace(by_name, tls=TlsMode.VERIFY_CA), None)
    assert (await lax.health()).online
    await lax.close()
    code, step, error = await failing(replace(by_name, tls=TlsMode.VERIFY_FULL))
    assert (code, step) == ("tls_mismatch", "tls")
    assert isinstance(error, TlsMismatch)


@pytest.mark.parametrize("case", ("server wants TLS", "server has no TLS", "unknown authority", "not PEM"))
async def test_tls_mismatches_are_named(secured: Endpoint, standalone: Endpoint, case: str) -> None:
    endpoint = {
        "server wants TLS": replace(secured, tls=TlsMode.DISABLE),
        "server has no TLS": replace(standalone, tls=TlsMode.REQUIRE),
        "unknown authority": replace(secured, tls=TlsMode.VERIFY_FULL, tls_ca=None),
        "not PEM": replace(secured, tls=TlsMode.VERIFY_FULL, tls_ca="nonsense"),
    }[case]
    code, step, error = await failing(endpoint)
    assert (code, step) == ("tls_mismatch", "tls")
    assert isinstance(error, TlsMismatch)
