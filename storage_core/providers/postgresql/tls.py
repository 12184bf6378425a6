"""TLS as PostgreSQL's modes mean it, for asyncpg and for the programs."""

import ssl
from pathlib import Path

from ...domain.errors import InvalidRequest
from ...domain.provider import Endpoint, TlsMode

SYSTEM_ROOTS = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class NamedContext(ssl.SSLContext):
    """A context that checks the certificate against the name people gave while the address stays pinned."""

    true_name: str | None = None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, self.true_name or server_hostname, session)


def client_context(endpoint: Endpoint, host: str) -> ssl.SSLContext | None:
    """The context for a connection, none where TLS is off. InvalidRequest when `tls_ca` is no certificate."""
    if endpoint.tls is TlsMode.DISABLE:
        return None
    context = NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.true_name = host
    context.check_hostname = endpoint.tls is TlsMode.VERIFY_FULL
    if endpoint.tls is TlsMode.REQUIRE:
        context.verify_mode = ssl.CERT_NONE
        return context
    context.verify_mode = ssl.CERT_REQUIRED
    if endpoint.tls_ca is None:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(cadata=endpoint.tls_ca)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidRequest(
            "The certificate authority of the provider cannot be read.",
            field="connection.tls_ca",
            hint="Paste the PEM text, from BEGIN CERTIFICATE to END CERTIFICATE.",
        ) from error
    return context


def roots_for_programs(endpoint: Endpoint) -> str | None:
    """The PEM text of the authorities that libpq must trust; none where the mode does not verify."""
    if endpoint.tls in (TlsMode.DISABLE, TlsMode.REQUIRE):
        return None
    if endpoint.tls_ca is not None:
        return endpoint.tls_ca
    for place in (ssl.get_default_verify_paths().cafile, *SYSTEM_ROOTS):
        if place and Path(place).is_file():
            return Path(place).read_text()
    raise InvalidRequest(
        "This machine has no list of certificate authorities.",
        field="connection.tls_ca",
        hint="Give the authority's certificate as tls_ca.",
    )
