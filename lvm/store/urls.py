"""Database URLs, read as libpq reads them: ``psql`` takes the same ones, with several hosts too.

Contract: an error about a URL shows nothing of it but the name of an unknown parameter, and that only where it cannot
be a piece of a password that was not percent-encoded.
"""

from __future__ import annotations

import re
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL

from lvm.store.errors import InvalidDatabaseUrl

SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
"""Parameters of a Postgres URL that are secret."""

_SHAPE = (
    "it must look like postgresql://user:password@host:5432/database, in user and password "
    "%40 for @, %2F for /, %3A for :, %3F for ?, %23 for # and %25 for %"
)
_SCHEME = re.compile(r"postgres(ql)?(\+\w+)?://", re.ASCII)  # SQLAlchemy's drivers too, e.g. postgresql+psycopg
_NUMBERS = ("connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
_UNKNOWN = re.compile(r'invalid URI query parameter: "(\w+)"', re.ASCII)


def read(value: str, variable: str) -> URL:
    """The SQLAlchemy URL (psycopg 3) of a Postgres URL.

    Args:
        value: the URL.
        variable: the setting that holds it, for messages.

    Raises:
        InvalidDatabaseUrl: if libpq does not take it, if it names no database, or if its password looks unencoded.
    """
    value = value.strip()  # a file that holds it may end in a line break
    scheme = _SCHEME.match(value)
    if scheme is None:
        raise InvalidDatabaseUrl(f"{variable} is not the URL of a Postgres database; {_SHAPE}")
    rest = value[scheme.end() :]
    login_and_hosts, _, after = rest.partition("/")
    if not value.isprintable() or login_and_hosts.count("@") > 1 or "@" in after.partition("?")[0]:
        raise InvalidDatabaseUrl(f"{variable} cannot be read; {_SHAPE}")
    try:
        parameters = {name: str(item) for name, item in conninfo_to_dict(f"postgresql://{rest}").items()}
    except (psycopg.Error, ValueError) as error:  # its message may hold a part of the password: it is not chained
        unknown = _UNKNOWN.search(str(error))
        if unknown and not any(mark in after for mark in ("@", *(f"{name}=" for name in SECRETS))):
            raise InvalidDatabaseUrl(
                f"{variable} has the parameter {unknown[1]!r}, which libpq does not know; correct or remove it"
            ) from None
        raise InvalidDatabaseUrl(f"{variable} cannot be read; {_SHAPE}") from None
    _check(parameters, variable)
    if "options" in parameters:  # SQLAlchemy writes spaces as +, and means them nowhere else
        parameters["options"] = parameters["options"].replace("-c+", "-c ").replace("+-c", " -c")
    hosts, ports = parameters.pop("host", ""), parameters.pop("port", "")
    # SQLAlchemy has no place for a socket's folder or several hosts but the parameters.
    plain = bool(hosts) and not {"/", ",", "@"} & set(hosts) and "," not in ports
    query = {
        **parameters,
        **({} if plain else {name: each for name, each in (("host", hosts), ("port", ports)) if each}),
    }
    return URL.create(
        "postgresql+psycopg",
        username=query.pop("user", None),
        password=query.pop("password", None),
        host=hosts if plain else None,
        port=int(ports) if plain and ports else None,
        database=query.pop("dbname"),
        query=query,
    )


def for_libpq(url: URL) -> str:
    """A URL as psql, psycopg and other clients of libpq take it, password included.

    SQLAlchemy's own rendering writes a space as ``+`` or as it is.
    """
    login = ":".join(_quoted(part) for part in (url.username, url.password) if part is not None)
    host = url.host or ""
    host = f"[{host}]" if ":" in host else _quoted(host)
    port = "" if url.port is None else f":{url.port}"
    query = "&".join(f"{_quoted(name)}={_quoted(str(value))}" for name, value in url.query.items())
    at, mark = "@" if login else "", "?" if query else ""
    return f"postgresql://{login}{at}{host}{port}/{_quoted(url.database or '')}{mark}{query}"


def _quoted(part: str) -> str:
    return quote(part, safe="")


def _is_name(host: str) -> bool:
    """Whether a host can be looked up: the labels of a name have 63 bytes at most."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return "@" not in host


def _check(parameters: dict[str, str], variable: str) -> None:
    """Refuse what libpq finds out when it connects, with a message that shows the value."""
    if not parameters.get("dbname"):
        raise InvalidDatabaseUrl(f"{variable} names no database; {_SHAPE}")
    hosts = parameters.get("host", "").split(",")
    ports = parameters.get("port", "").split(",")
    wrong = any(port and not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65536) for port in ports)
    if wrong or not all(host.startswith(("/", "@")) or _is_name(host) for host in hosts):
        raise InvalidDatabaseUrl(f"{variable} has a host or a port that is none; {_SHAPE}")
    if len(ports) not in (1, len(hosts)):
        raise InvalidDatabaseUrl(
            f"{variable} has {len(hosts)} hosts and {len(ports)} ports; name a port for each or one"
        )
    for name in _NUMBERS:
        if not re.fullmatch(r"-?[0-9]{1,9}|", parameters.get(name, "")):
            raise InvalidDatabaseUrl(f"the parameter {name} of {variable} is not a number; correct or remove it")
