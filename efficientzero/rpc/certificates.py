"""When the certificates of a credentials folder expire, and how to renew them.

Checked by every process at its start, and by the learner every hour. Only the end of validity is
checked here; TLS checks the rest.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from efficientzero.rpc.credentials import CA, CERTIFICATE

WARN_DAYS = 30
"""Before a certificate expires."""

_END = "-----END CERTIFICATE-----"
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18  # tags of DER
_FORMATS = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}


@dataclass(frozen=True, slots=True)
class Expiry:
    """The end of a certificate's validity."""

    path: Path
    at: datetime  # in UTC

    def is_over(self, now: datetime) -> bool:
        """Return whether the certificate has expired."""
        return self.at <= now

    def note(self, now: datetime) -> str:
        """Return one line with the command that renews it; empty if there is time."""
        if self.at - now > timedelta(days=WARN_DAYS):
            return ""
        day = f"{self.at:%Y-%m-%d %H:%M} UTC"
        when = (
            f"expired on {day}: no worker can connect"
            if self.is_over(now)
            else f"expires on {day}, in {(self.at - now).days} days: then no worker can connect"
        )
        return f"{self.path} {when}; {how_to_renew(self.path)}"


def how_to_renew(path: Path) -> str:
    """Return the command that renews a certificate, for a line's end."""
    command = "run deploy/scripts/make_certs.sh DIR in the folder with ca.key"
    copies = "ca.pem to every host" if path.name == CA else "learner.pem and learner.key here"
    if (path.parent / "ca.key").exists():
        command = f"run deploy/scripts/make_certs.sh {path.parent}"
        copies = "ca.pem to every host" if path.name == CA else ""
    return f"{command}, and copy {copies}" if copies else command


def expiries(folder: Path) -> list[Expiry]:
    """Return when the certificates in a folder expire; unreadable ones are skipped.

    If one file holds several CAs, the last one to expire counts.
    """
    found = []
    for name, choose in ((CA, max), (CERTIFICATE, _first)):
        try:
            ends = list(ends_of_validity((folder / name).read_text("ascii")))
        except (OSError, ValueError):
            continue  # its user reports the error
        if ends:
            found.append(Expiry(folder / name, choose(ends)))
    return found


def expiry_notes(folder: Path | None, now: datetime | None = None) -> list[str]:
    """Return a line for each certificate in ``folder`` that expires within a month, or has."""
    moment = now or datetime.now(UTC)
    found = [] if folder is None else expiries(folder)
    return [note for expiry in found if (note := expiry.note(moment))]


def ends_of_validity(pem: str) -> Iterator[datetime]:
    """Yield the ends of validity of the certificates in a PEM file, in its order.

    Raises:
        ValueError: one is no certificate.
    """
    for part in pem.split(_END)[:-1]:
        begin = part.find("-----BEGIN CERTIFICATE-----")
        if begin < 0:
            raise ValueError("got an end of a certificate, wanted its beginning before")
        yield _end_of_validity(ssl.PEM_cert_to_DER_cert(part[begin:] + _END))


def _first(ends: list[datetime]) -> datetime:
    return ends[0]


def _end_of_validity(der: bytes) -> datetime:
    """Return notAfter of an X.509 certificate (RFC 5280, 4.1).

    Certificate ::= SEQUENCE of tbsCertificate ::= SEQUENCE of [0] version (optional), serial
    number, algorithm, issuer, validity ::= SEQUENCE of notBefore, notAfter.
    """
    certificate = _inside(der, 0)
    at = _inside(der, certificate)
    if der[at] == _VERSION:
        at = _after(der, at)
    for _ in range(3):
        at = _after(der, at)
    not_after = _after(der, _inside(der, at))
    start, end = _content(der, not_after)
    wanted = _FORMATS.get(der[not_after])
    if wanted is None:
        raise ValueError(f"notAfter: got tag {der[not_after]}, wanted one of {sorted(_FORMATS)}")
    return datetime.strptime(der[start:end].decode("ascii"), wanted).replace(tzinfo=UTC)


def _inside(der: bytes, at: int) -> int:
    """Return where the first element of the sequence at ``at`` begins."""
    if der[at] != _SEQUENCE:
        raise ValueError(f"byte {at} of a certificate: got tag {der[at]}, wanted {_SEQUENCE}")
    return _content(der, at)[0]


def _after(der: bytes, at: int) -> int:
    return _content(der, at)[1]


def _content(der: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the element at ``at`` begins and ends."""
    length, start = der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(der[start : start + size], "big"), start + size
    if start + length > len(der):
        raise ValueError("got a part of a certificate, wanted all of it")
    return start, start + length
