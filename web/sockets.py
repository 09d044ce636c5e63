"""Listening sockets, bound before anything else starts so that a taken port is said early."""

import errno
import os
import resource
import socket

__all__ = ["ListenError", "bind_sockets", "connections_max", "socket_url"]

BACKLOG = 1024
# Data that a client does not take for so long is not waited for any longer.
SEND_STALL_MS_MAX = 30_000
# Descriptors that the log, the terminal and the rest of the process may need.
SPARE_DESCRIPTORS = 256
REASONS = {
    errno.EADDRINUSE: "the port is in use",
    errno.EACCES: "this user may not use the port",
    errno.EADDRNOTAVAIL: "the address does not belong to this machine",
}


class ListenError(Exception):
    """The address cannot be listened on; the message is one sentence that says why."""


def bind_sockets(host: str, port: int) -> list[socket.socket]:
    """Return a bound socket for each address of the host, listening not yet.

    Args:
        host: a name or an address; a name may have several addresses.
        port: 0 takes a free one, the same for all addresses.

    Raises:
        ListenError: nothing is bound then.
    """
    bound: list[socket.socket] = []
    try:
        for family, address in _addresses(host):
            if bound and port == 0:
                port = bound[0].getsockname()[1]
            bound.append(_bind(family, address, port))
    except OSError as error:
        for sock in bound:
            sock.close()
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        reason = REASONS.get(error.errno or 0) or error.strerror or str(error)
        raise ListenError(
            f"Cannot listen on {where}: {reason}. Choose another HOST or PORT."
        ) from error
    return bound


def _addresses(host: str) -> list[tuple[socket.AddressFamily, str]]:
    found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    inet = (socket.AF_INET, socket.AF_INET6)
    addresses = [(family, str(address[0])) for family, *_, address in found if family in inet]
    return list(dict.fromkeys(addresses))


def _bind(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # After a restart the port of the last process is free at once.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # inherited by every connection
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SEND_STALL_MS_MAX)
        sock.bind((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def socket_url(sock: socket.socket) -> str:
    """Return the URL under which a client on this machine finds the socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if sock.family == socket.AF_INET6 else f"http://{host}:{port}"


def connections_max() -> int:
    """Return how many connections to hold at once, so that the log can still open its files.

    Raises the process's limit of open files to what the system allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (ValueError, OSError):  # macOS says unlimited and means OPEN_MAX
            soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        soft = os.sysconf("SC_OPEN_MAX")
    return max(soft // 2, soft - SPARE_DESCRIPTORS)
