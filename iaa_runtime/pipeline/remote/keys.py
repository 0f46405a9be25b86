"""The key for servers: where it may go, and that nobody gets to read it.

An address may come from somebody else's workflow, and another program may listen at another port of a host. So the key
goes to what the user has named, and over plain http to this machine alone.
"""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit

from ...errors import InputError

KEY_VARIABLE, HOSTS_VARIABLE = "IAA_API_KEY", "IAA_API_HOSTS"
"""Environment variables: the key, and the ``HOST:PORT`` (separated by commas) that it may be sent to. Where no port is
named, it is the protocol's own: 443 of https, 80 of http."""

_PORTS = {"https": 443, "http": 80}


def key_for(url: str) -> str | None:
    """``IAA_API_KEY``, if it may go to the URL's host and port: None elsewhere, and where there is none.

    Raises:
        InputError: the key holds a character that no key has; it is not in the message.
    """
    parts = urlsplit(url)
    host, default = parts.hostname or "", _PORTS.get(parts.scheme, 0)
    named = (_host_and_port(entry, default) for entry in os.environ.get(HOSTS_VARIABLE, "").split(","))
    if (host, parts.port or default) not in named or not (parts.scheme == "https" or _is_this_machine(host)):
        return None
    key = os.environ.get(KEY_VARIABLE, "")
    if key and not re.fullmatch("[!-~]+", key):
        raise InputError(
            f"{KEY_VARIABLE} holds a character that no key has: a blank, a line end, a control character or one "
            "that is not ASCII. Set it anew, without what a file or a clipboard may have added."
        )
    return key or None


def without_key(text: str) -> str:
    """The text without the key: some servers repeat it when they refuse it. (One of three letters is no secret.)"""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    return text.replace(key, "(the key)") if len(key) > 3 else text


def _host_and_port(entry: str, default: int) -> tuple[str | None, int]:
    try:
        parts = urlsplit(f"//{entry.strip()}")
        return parts.hostname, parts.port or default
    except ValueError:
        return None, default


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
