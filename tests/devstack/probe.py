"""Cheap questions to a server that may not be there yet. None of them raises."""

import http.client
import socket


def tcp_open(port: int, timeout_s: float = 1.0) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout_s):
            return True
    except OSError:
        return False


def http_status(port: int, path: str, timeout_s: float = 2.0) -> int | None:
    """The status of a GET, or None where nothing answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
