from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from servers.runtime.peers import open_channel
from servers.runtime.server import ListenError
from servers.runtime.settings import ServerSettings


@dataclass(frozen=True)
class Authority:
    """A certificate authority that writes what it issues into a folder."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _signed(name, key, issuer=self.certificate.subject, signer=self.key, is_authority=False)
        certificate_file, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate_file, key_file


def _signed(name: str, key: Any, *, issuer: x509.Name | None, signer: Any, is_authority: bool) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    # Not when this module is imported, which is long before its tests run where there are thousands of others.
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(signer, hashes.SHA256())
    )


def authority(folder: Path) -> Authority:
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    made = Authority(folder, key, _signed("ca", key, issuer=None, signer=key, is_authority=True))
    made.file.write_bytes(made.certificate.public_bytes(Encoding.PEM))
    return made


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return authority(tmp_path / "ours")


def ping(address: str, pb: Any, echo_grpc: Any, **settings: Any) -> None:
    with open_channel(address, settings=ServerSettings(**settings), patience_s=0) as channel:
        echo_grpc.EchoServiceStub(channel).Ping(pb.PingRequest(), timeout=30)


def test_a_peer_that_trusts_the_authority_is_served_over_tls(serve: Callable[..., Any], ours: Authority, pb: Any, echo_grpc: Any) -> None:
    certificate, key = ours.issue("server")
    server = serve(settings={"listen": "127.0.0.1:0", "tls_certificate_file": certificate, "tls_key_file": key})

    ping(server.address, pb, echo_grpc, peer_ca_file=ours.file)

    with pytest.raises(grpc.RpcError):
        ping(server.address, pb, echo_grpc)


def test_a_server_with_another_authority_is_not_trusted(serve: Any, ours: Authority, pb: Any, echo_grpc: Any, tmp_path: Path) -> None:
    certificate, key = ours.issue("server")
    server = serve(settings={"tls_certificate_file": certificate, "tls_key_file": key})

    with pytest.raises(grpc.RpcError) as caught:
        ping(server.address, pb, echo_grpc, peer_ca_file=authority(tmp_path / "theirs").file)

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_with_mtls_only_clients_with_a_certificate_are_served(serve: Any, ours: Authority, pb: Any, echo_grpc: Any, tmp_path: Path) -> None:
    certificate, key = ours.issue("server")
    server = serve(settings={"tls_certificate_file": certificate, "tls_key_file": key, "tls_client_ca_file": ours.file})
    mine, mine_key = ours.issue("client")
    theirs, theirs_key = authority(tmp_path / "theirs").issue("client")

    ping(server.address, pb, echo_grpc, peer_ca_file=ours.file, peer_certificate_file=mine, peer_key_file=mine_key)

    with pytest.raises(grpc.RpcError):
        ping(server.address, pb, echo_grpc, peer_ca_file=ours.file)
    with pytest.raises(grpc.RpcError):
        ping(server.address, pb, echo_grpc, peer_ca_file=ours.file, peer_certificate_file=theirs, peer_key_file=theirs_key)


def test_half_a_pair_of_files_is_refused_at_start(serve: Callable[..., Any], ours: Authority) -> None:
    certificate, _ = ours.issue("server")

    with pytest.raises(ListenError, match="both tls_certificate_file and tls_key_file"):
        serve(settings={"tls_certificate_file": certificate})


def test_files_that_cannot_be_read_are_named(serve: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(ListenError, match=r"missing\.pem"):
        serve(settings={"tls_certificate_file": tmp_path / "missing.pem", "tls_key_file": tmp_path / "missing.pem"})


@pytest.mark.parametrize(
    ("listen", "why"),
    [
        ("unix:/tmp/" + "x" * 120, "longer than 100 bytes"),
        ("256.0.0.1:5", "cannot listen"),
        ("no-port", "cannot listen"),
    ],
)
def test_an_address_that_cannot_be_served_on_is_refused_with_the_reason(serve: Callable[..., Any], listen: str, why: str) -> None:
    with pytest.raises(ListenError, match=why):
        serve(settings={"listen": listen})


def test_a_port_in_use_is_refused_instead_of_shared(serve: Callable[..., Any]) -> None:
    first = serve()

    with pytest.raises(ListenError, match="in use"):
        serve(settings={"listen": first.address})


def test_a_file_that_is_no_socket_is_left_alone(serve: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(ListenError, match="a file that is not a socket"):
        serve(settings={"listen": f"unix:{tmp_path}/notes.txt"})

    assert (tmp_path / "notes.txt").read_text() == "mine"
