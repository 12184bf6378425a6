"""Whether a request comes from a page of our own."""


def same_origin(origin: str | None, host: str | None, *, secure: bool) -> bool:
    """Whether an Origin header names the very scheme, host and port that were asked.

    Over plain http an https origin of the same host passes too: then something in between speaks TLS for us.
    Anything else in it (a path, a user, another spelling) is not what a browser sends.
    """
    if not origin or not host:
        return False
    schemes = ("https",) if secure else ("http", "https")
    return origin.lower() in {f"{scheme}://{host.lower()}" for scheme in schemes}
