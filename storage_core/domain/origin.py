"""Whether a request comes from a page of our own."""


def same_origin(origin: str | None, host: str | None, *, secure: bool) -> bool:
    """Whether an Origin header names the very scheme, host and port that were asked.

    `secure` is what the visitor's browser spoke: a trusted proxy that speaks TLS for us says so. Anything else in it
    (another scheme, a path, a user, another spelling) is not what a browser sends from a page of ours.
    """
    if not origin or not host:
        return False
    return origin.lower() == f"{'https' if secure else 'http'}://{host.lower()}"
