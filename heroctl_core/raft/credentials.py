"""The certificates of this node: read, tried out, watched, and replaced without a restart.

New files are tried in a handshake of this node with itself, in memory. So what is checked is
exactly what the other members will check: that the key fits, that an authority in ca_file signed
the certificate, that it is valid now and good for both ends of a connection.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .. import limits
from ..clock import Clock
from ..config.model import CERTIFICATE_SCHEME
from ..crypto.keys import credential_path
from ..errors import ConfigError, FileFault
from ..files import read_private
from .greeting import Certificate

LOOK_S: Final = 5.0  # how often to call `refresh`
WARN_DAYS: Final = 30
_DAY_S: Final = 86_400

log = logging.getLogger("heroctl.raft")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the certificates are, and whose they must be. `ca_file` may hold several authorities,
    which is how one is replaced by another."""

    ca_file: Path
    cert_file: Path
    key_file: Path
    owner: Certificate


@dataclass(frozen=True, slots=True)
class Contexts:
    """What connections are made with, and until when (seconds since 1970) it is valid."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    node_expires_s: float
    authority_expires_s: float  # of the first authority to end


class Credentials:
    """The certificates that count now. `refresh` from one thread, everything else from any."""

    def __init__(self, files: TlsFiles, clock: Clock) -> None:
        """ConfigError says which file cannot be used, and why."""
        self._files = files
        self._clock = clock
        self._problem: str | None = None
        self._seen = _signature(files)
        self.contexts = _load(files)

    def refresh(self) -> None:
        """Takes files that have changed; broken ones are told and change nothing."""
        seen = _signature(self._files)
        if seen == self._seen:
            return
        try:
            contexts = _load(self._files)
        except ConfigError as error:
            if str(error) != self._problem:
                log.error("the new TLS files are not used: %s", error)  # noqa: TRY400 – no traceback
            self._problem = str(error)
            return
        if _signature(self._files) != seen:
            return  # they are being replaced at this moment
        self.contexts, self._seen, self._problem = contexts, seen, None
        log.info("new TLS files are used, for new connections: %s", self._files.cert_file)

    @property
    def warnings(self) -> list[str]:
        """What the operator should do something about."""
        contexts, now_s = self.contexts, self._clock.time_ms() / 1000
        found = [f"the new TLS files are not used: {self._problem}"] if self._problem else []
        for path, end_s in (
            (self._files.cert_file, contexts.node_expires_s),
            (self._files.ca_file, contexts.authority_expires_s),
        ):
            days = (end_s - now_s) / _DAY_S
            if days < 0:
                found.append(f"{path} has expired: new connections are refused")
            elif days < WARN_DAYS:
                found.append(f"{path} expires in {int(days)} days: heroctl tls issue")
        return found


@dataclass(frozen=True, slots=True)
class Trust:
    """By what members know each other: a key derived from the secrets key, of which both ends of a
    connection prove that they have it, and certificates. Without those no TLS, and only loopback.
    """

    key: bytes = field(repr=False)
    credentials: Credentials | None = None


def certificate_of(fields: Mapping[str, Any]) -> Certificate:
    """Whose a verified certificate is, from what ssl tells of it; ValueError when it does not say
    so, or not clearly."""
    names = fields.get("subjectAltName", ())
    found = [
        value.removeprefix(CERTIFICATE_SCHEME).split("/")
        for kind, value in names
        if kind == "URI" and value.startswith(CERTIFICATE_SCHEME)
    ]
    if len(found) != 1 or len(found[0]) != 2 or not all(found[0]):
        raise ValueError(f"its certificate has no name {CERTIFICATE_SCHEME}CLUSTER/NODE")
    return Certificate(*found[0])


def _signature(files: TlsFiles) -> tuple[object, ...]:
    """What changes when a file is written or replaced."""
    found: list[object] = []
    for path in (files.ca_file, files.cert_file, credential_path(files.key_file)):
        try:
            status = path.stat()
        except OSError as error:
            found.append(error.errno)
        else:
            found.append((status.st_mtime_ns, status.st_ino, status.st_size, status.st_mode))
    return tuple(found)


def _load(files: TlsFiles) -> Contexts:
    """Contexts of the files as they are now; ConfigError."""
    server = _context(files, ssl.PROTOCOL_TLS_SERVER)
    server.num_tickets = 0  # every connection shows its certificate
    client = _context(files, ssl.PROTOCOL_TLS_CLIENT)
    own = _try_out(files, server, client)
    owner = certificate_of_own(files, own)
    if owner != files.owner:
        raise ConfigError(
            f"tls.cert_file {files.cert_file} is that of node {owner.node} of cluster "
            f"{owner.cluster}, this is {files.owner.node} of {files.owner.cluster}",
            hint=f"heroctl tls issue --node {files.owner.node}",
        )
    ends = [ssl.cert_time_to_seconds(ca["notAfter"]) for ca in server.get_ca_certs()]  # type: ignore[arg-type]
    return Contexts(server, client, ssl.cert_time_to_seconds(str(own["notAfter"])), min(ends))


def certificate_of_own(files: TlsFiles, own: Mapping[str, Any]) -> Certificate:
    """Whose this node's certificate is; ConfigError."""
    try:
        return certificate_of(own)
    except ValueError as error:
        text = str(error).removeprefix("its certificate ")
        raise ConfigError(
            f"tls.cert_file {files.cert_file} {text}", hint="make one with: heroctl tls issue"
        ) from error


def _context(files: TlsFiles, protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # names of nodes count, not of machines
    context.verify_mode = ssl.CERT_REQUIRED
    key_file = credential_path(files.key_file)
    for key, path in (("ca_file", files.ca_file), ("cert_file", files.cert_file)):
        _readable(key, path)
    try:
        read_private(key_file, max_bytes=limits.KEY_FILE_BYTES, any_mode=key_file != files.key_file)
    except FileFault as error:
        raise ConfigError(f"tls.key_file {error.message}", hint=error.hint) from error
    try:
        context.load_verify_locations(cafile=os.fspath(files.ca_file))
    except ssl.SSLError as error:
        raise ConfigError(
            f"tls.ca_file {files.ca_file} has no certificate in PEM",
            hint="put ca.crt of heroctl tls init there",
        ) from error
    try:
        context.load_cert_chain(files.cert_file, key_file, password=_no_password)
    except ssl.SSLError as error:
        raise ConfigError(_pair_fault(files, error), hint=_again(files)) from error
    return context


def _no_password() -> str:
    return ""  # without it OpenSSL would ask at the terminal


def _readable(key: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        text = (error.strerror or str(error)).lower()
        hint = "make it with: heroctl tls init, heroctl tls issue"
        raise ConfigError(f"tls.{key} {path}: {text}", hint=hint) from error


def _again(files: TlsFiles) -> str:
    return f"make a new one with: heroctl tls issue --node {files.owner.node}"


def _pair_fault(files: TlsFiles, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"tls.key_file {files.key_file} is not the key of tls.cert_file {files.cert_file}"
    return f"tls.cert_file {files.cert_file} or tls.key_file {files.key_file} is no valid PEM"


def _try_out(files: TlsFiles, server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    """This node's certificate as the others will see it; ConfigError when they will refuse it."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)]
    try:
        for _ in range(4):  # more rounds than a handshake has
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    pass
        return dict(ends[1].getpeercert() or {})
    except (ssl.SSLError, ValueError) as error:
        why = getattr(error, "verify_message", "") or str(error)
        raise ConfigError(
            f"tls.cert_file {files.cert_file} does not pass with tls.ca_file {files.ca_file}: "
            f"{_WHY.get(why, why)}",
            hint=_again(files),
        ) from error


_WHY: Final = {
    "certificate has expired": "it has expired",
    "certificate is not yet valid": "it is not valid yet; compare the clocks",
    "unable to get local issuer certificate": "no authority in that file signed it",
    "self-signed certificate": "no authority in that file signed it",
    "certificate signature failure": "no authority in that file signed it",
}
