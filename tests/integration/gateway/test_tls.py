"""TLS on the public port, and towards servers on other machines."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration.gateway.mesh_in_memory import GatewayUnderTest, short_folder


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    return chain, private


def test_the_public_port_speaks_tls_where_it_has_a_certificate() -> None:
    with short_folder() as folder:
        chain, private = _certificate(folder)
        gateway = GatewayUnderTest(folder, tls_certificate_file=chain, tls_key_file=private)
        try:
            gateway.start()
            trusting = ssl.create_default_context(cafile=str(chain))

            response = httpx.get(
                f"https://localhost:{gateway.settings.port}/api/v1/models/m", headers=gateway.auth, verify=trusting, trust_env=False
            )

            assert response.status_code == 200
        finally:
            gateway.stop()
