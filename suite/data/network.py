"""Whether a server answers, known within seconds, and what is wrong where it does not, in plain words."""

from __future__ import annotations

import os
import queue
import socket
import threading
from functools import cache
from urllib.parse import urlsplit

TIMEOUT = (5.0, 60.0)
"""Seconds to connect, and from one piece of a file to the next."""

_PATIENCE = 8.0
"""Seconds for a name to be looked up and one of its addresses to answer: lookups have no time limit of their own."""

_PORTS = {"http": 80, "https": 443}


def no_answer(url: str) -> str | None:
    """Why the server of an address (or the proxy on the way) does not answer, or None if it does."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    at = urlsplit(proxy) if proxy else parts
    port = at.port or _PORTS.get(at.scheme)
    if at.hostname is None or port is None:
        return None  # another kind of address or proxy, of which we know nothing: let it be tried
    wrong = _unreachable(at.hostname, port)
    return wrong and f"{f'the proxy {at.hostname}' if proxy else 'its server'} {wrong}"


def in_words(error: Exception) -> str:
    """What was wrong with a download, in plain words: requests' own messages show its insides."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"its server answers {error.response.status_code} {error.response.reason}"
    words = {
        requests.Timeout: "its server did not answer in time",
        requests.exceptions.SSLError: "its server's certificate could not be verified",
        requests.exceptions.ProxyError: "the proxy on the way refused it",
        requests.RequestException: "the connection broke off",
        ValueError: "what its server sends has another checksum than the known file",
    }
    known = next((said for kind, said in words.items() if isinstance(error, kind)), None)
    return known or getattr(error, "strerror", None) or str(error)


@cache
def _unreachable(host: str, port: int) -> str | None:
    """What it does not do, or None. Kept for the process: the next file of the same server is not waited for again."""
    answer: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=lambda: answer.put(_try(host, port)), daemon=True).start()
    try:
        return answer.get(timeout=_PATIENCE)
    except queue.Empty:
        return f"did not answer within {_PATIENCE:g} seconds: is there a network?"


def _try(host: str, port: int) -> str | None:
    try:
        socket.create_connection((host, port), timeout=TIMEOUT[0]).close()
    except TimeoutError:
        return f"did not answer within {TIMEOUT[0]:g} seconds: is there a network?"
    except socket.gaierror:
        return "could not be looked up: is there a network?"
    except OSError as error:
        return f"cannot be reached: {os.strerror(error.errno) if error.errno else error}"
    return None
