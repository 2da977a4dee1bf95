"""A byte stream over TLS 1.3, on which both ends have shown a certificate of the cluster.

`ssl.SSLSocket`, non-blocking. A MemoryBIO beside an own socket needs about the same time for small
frames and more for big ones (docs/decisions/transport.md).
"""

from __future__ import annotations

import select
import socket
import ssl
from typing import Final

from .channel import RECEIVE_BYTES, SPEAKS_HTTP, Stream
from .credentials import certificate_of

_READ_BYTES: Final = 64 * 1024  # more than a record has, so that none is left in OpenSSL's buffer
_RECORD_BYTES: Final = 16 * 1024  # of data in a full record (RFC 8446, section 5.1)
_ALERTS: Final = {  # what the other end says of our certificate
    "TLSV1_ALERT_UNKNOWN_CA": "its authority did not sign it",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it has expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it is not valid",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it is not valid",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it is not meant for this use",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "there was none",
}


class TlsStream(Stream):
    """TLS over a connected socket, which belongs to the stream from now on."""

    def __init__(self, stream: Stream, context: ssl.SSLContext, *, server_side: bool) -> None:
        """OSError when the connection has ended already."""
        self._tls = context.wrap_socket(
            stream.take_socket(), server_side=server_side, do_handshake_on_connect=False
        )
        self._sock: socket.socket = self._tls

    def secure(self) -> int:
        """The handshake; see Stream.secure."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return select.EPOLLIN
        except ssl.SSLWantWriteError:
            return select.EPOLLOUT
        except ssl.SSLError as error:
            raise _refusal(error) from error
        self.certificate = certificate_of(self._tls.getpeercert() or {})
        return 0

    def receive(self) -> bytes | None:
        """See Stream.receive."""
        found = bytearray()
        try:
            while len(found) < RECEIVE_BYTES:
                data = self._tls.recv(_READ_BYTES)
                if 0 < len(data) < _RECORD_BYTES and not found:
                    return data  # one short burst, as nearly always
                if not data:
                    return bytes(found)  # b"" comes again when the rest was taken
                found += data
                if len(data) < _RECORD_BYTES:
                    break  # the burst is over; if it is not, epoll says so again
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except ssl.SSLError as error:
            if not found:
                raise _refusal(error) from error
        except OSError:
            return bytes(found)
        return bytes(found) or None

    def send(self, data: memoryview) -> int | None:
        """See Stream.send."""
        try:
            return self._tls.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        except OSError:
            return None


def _refusal(error: ssl.SSLError) -> Exception:
    """What to tell the operator; ConnectionError when the other end just hung up."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ValueError(f"its certificate: {error.verify_message}")
    reason = error.reason or str(error)
    if reason in _ALERTS:
        return ValueError(f"it refused this node's certificate: {_ALERTS[reason]}")
    if reason == "HTTP_REQUEST":
        return ValueError(SPEAKS_HTTP)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return ConnectionError("the connection ended")
    return ValueError(f"no TLS 1.3 of a member: {reason.lower().replace('_', ' ')}")
