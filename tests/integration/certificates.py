"""A throw-away certificate authority: for servers on 127.0.0.1, and for their clients."""

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

_SERVER = "subjectAltName=IP:127.0.0.1,DNS:localhost"


class Certificate(NamedTuple):
    """PEM files."""

    certificate: Path
    key: Path


class Certificates(NamedTuple):
    """One authority, a server and a client that it knows, and an authority that knows neither."""

    ca: Path
    server: Certificate
    client: Certificate
    other_ca: Path

    def server_context(self) -> ssl.SSLContext:
        """TLS as the server speaks it: only to clients with a certificate of ours."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(*self.server)
        return context


def make_certificates(directory: Path) -> Certificates:
    """By the program openssl; without it the test is skipped."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates with")
    ca, other = (_authority(directory, name) for name in ("ca", "other"))
    return Certificates(
        ca.certificate, _signed(directory, "server", ca), _signed(directory, "client", ca), other.certificate
    )


def _authority(directory: Path, name: str) -> Certificate:
    made = Certificate(directory / f"{name}.pem", directory / f"{name}.key")
    _openssl(
        "req", "-x509", *_new_key(made.key), "-out", made.certificate, "-days", "2", "-subj", f"/CN={name}"
    )
    return made


def _signed(directory: Path, name: str, by: Certificate) -> Certificate:
    made = Certificate(directory / f"{name}.pem", directory / f"{name}.key")
    request, extensions = directory / f"{name}.csr", directory / f"{name}.cnf"
    extensions.write_text(_SERVER)
    _openssl("req", *_new_key(made.key), "-out", request, "-subj", f"/CN={name}")
    signing = [
        "-CA",
        by.certificate,
        "-CAkey",
        by.key,
        "-CAcreateserial",
        "-extfile",
        extensions,
        "-days",
        "2",
    ]
    _openssl("x509", "-req", "-in", request, "-out", made.certificate, *signing)
    return made


def _new_key(path: Path) -> list[object]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path]


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30)
