"""A cluster's own certificate authority, and certificates for its nodes.

Who a certificate belongs to stands in it as a URI: heroctl://CLUSTER/NODE for a node,
heroctl://CLUSTER for the authority (docs/decisions/transport.md). Reading certificates is left to
TLS itself, in raft/credentials.py; here they are only made.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .. import limits
from ..config.model import certificate_uri, check_name
from ..errors import ConfigError, UsageError
from ..files import faults, read_private, write_atomic

CA_CERTIFICATE: Final = "ca.crt"
CA_KEY: Final = "ca.key"
CA_DAYS: Final = 3650
NODE_DAYS: Final = 365
_CLOCK_SKEW: Final = timedelta(minutes=5)  # a node whose clock is a little behind accepts it too
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key as files, and until when it is valid."""

    cert_file: Path
    key_file: Path
    not_after: datetime


def make_authority(folder: Path, cluster: str, *, now: datetime | None = None) -> Issued:
    """A new authority of `cluster` in `folder`: ca.crt and ca.key (mode 0600). UsageError when one
    of them is there already."""
    _check(cluster)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"HeroCtl {cluster[:40]}")])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = (
        _builder(name, name, key.public_key(), CA_DAYS, now or datetime.now(UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(_names(certificate_uri(cluster)), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    return _write(folder / CA_CERTIFICATE, folder / CA_KEY, certificate, key)


def issue(
    authority: Path,
    node: str,
    *,
    addresses: Sequence[str] = (),
    out: Path | None = None,
    cluster: str | None = None,
    now: datetime | None = None,
) -> Issued:
    """A certificate for `node`, NODE.crt and NODE.key in `out` (default: the authority's folder).

    `addresses` are host names and IP addresses under which clients reach the node; `cluster` is
    the authority's own unless given. UsageError when a file is there already.
    """
    _check(node)
    ca = _read_certificate(authority / CA_CERTIFICATE)
    ca_key = _read_key(authority / CA_KEY)
    if ca_key.public_key() != ca.public_key():
        raise ConfigError(f"{authority / CA_KEY} is not the key of {authority / CA_CERTIFICATE}")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    uri = certificate_uri(cluster or _cluster_of(ca, authority), node)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    builder = (
        _builder(name, ca.subject, key.public_key(), NODE_DAYS, now or datetime.now(UTC), ca)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(_names(uri, addresses), critical=False)
        .add_extension(signer, critical=False)
    )
    certificate = builder.sign(ca_key, hashes.SHA256())
    target = authority if out is None else out
    return _write(target / f"{node}.crt", target / f"{node}.key", certificate, key)


def _check(name: str) -> None:
    try:
        check_name(name)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    days: int,
    now: datetime,
    ca: x509.Certificate | None = None,
) -> x509.CertificateBuilder:
    """What both kinds of certificate have. One never outlives its authority."""
    end = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(min(end, ca.not_valid_after_utc) if ca is not None else end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _names(uri: str, addresses: Sequence[str] = ()) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
    return x509.SubjectAlternativeName([*names, *map(_address, addresses)])


def _address(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        if not _HOST.fullmatch(text):
            raise UsageError(f"{text!r} is neither a host name nor an IP address") from None
        return x509.DNSName(text)


def _read_certificate(path: Path) -> x509.Certificate:
    hint = "make an authority with: heroctl tls init --cluster NAME"
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}", hint=hint) from error
    except ValueError as error:
        raise ConfigError(f"{path} is no certificate in PEM", hint=hint) from error


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    text = read_private(path, max_bytes=limits.KEY_FILE_BYTES)
    try:
        key = serialization.load_pem_private_key(text, None)
    except (ValueError, TypeError) as error:  # the cause could quote the file
        raise ConfigError(f"{path} is no private key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{path} is no key of an authority made by heroctl tls init")
    return key


def _cluster_of(ca: x509.Certificate, authority: Path) -> str:
    """The cluster that an authority was made for."""
    prefix = certificate_uri("")
    try:
        names = ca.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        return check_name(next(u for u in uris if u.startswith(prefix)).removeprefix(prefix))
    except (x509.ExtensionNotFound, StopIteration, ValueError) as error:
        raise ConfigError(
            f"{authority / CA_CERTIFICATE} names no cluster",
            hint="it was not made by heroctl tls init",
        ) from error


def _write(
    cert_file: Path, key_file: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> Issued:
    """Both files; the key first, so that there is no certificate without one."""
    for path in (cert_file, key_file):
        if path.exists():
            hint = "nothing is overwritten: choose another folder, or move it away"
            raise UsageError(f"{path} exists already", hint=hint)
    with faults(cert_file.parent):
        cert_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    form = serialization.PrivateFormat.PKCS8
    pem = serialization.Encoding.PEM
    text = key.private_bytes(pem, form, serialization.NoEncryption())
    write_atomic(key_file, text, mode=0o600, overwrite=False)
    write_atomic(cert_file, certificate.public_bytes(pem), mode=0o644, overwrite=False)
    return Issued(cert_file, key_file, certificate.not_valid_after_utc)
