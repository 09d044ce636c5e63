"""What a request gets that comes too late."""

from actors.broker import Unavailable


def stopped() -> Unavailable:
    """Return what a request gets that comes too late."""
    return Unavailable("SHUTTING_DOWN", "The broker is shutting down.")
