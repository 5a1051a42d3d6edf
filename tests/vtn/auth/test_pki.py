"""Authorities are made once and vouch for devices by the request alone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runtime.errors import SettingsError
from runtime.tls.certificates import new_key, read_chain, read_key, request_certificate
from vtn.auth.pki import Pki
from vtn.errors import InvalidInput

BOTH_ENDS = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
"""In push mode the VTN is the client."""


def a_request(key, name="ven"):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256()).public_bytes(Encoding.PEM)


def usages(certificate):
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_two_trees_without_a_signature_of_the_other_kind(pki):
    for kind, key_type in (("ecdsa", ec.EllipticCurvePublicKey), ("rsa", rsa.RSAPublicKey)):
        root, intermediate = (read_chain(pki.folder / f"{role}-{kind}.pem")[0] for role in ("root", "intermediate"))
        server, sent = read_chain(pki.folder / f"server-{kind}.pem")
        assert sent == intermediate
        intermediate.verify_directly_issued_by(root)
        server.verify_directly_issued_by(intermediate)
        assert all(isinstance(each.public_key(), key_type) for each in (root, intermediate, server))
        assert set(usages(server)) == BOTH_ENDS
    assert len(read_chain(pki.ca)) == 2
    assert len(read_chain(pki.authorities)) == 4


def test_keys_are_their_owners_alone(pki):
    keys = list(pki.folder.glob("*.key"))
    assert len(keys) == 6
    assert all(path.stat().st_mode & 0o077 == 0 for path in keys)


def test_authorities_are_never_made_over_others(pki, tmp_path):
    before = pki.ca.read_bytes()
    with pytest.raises(SettingsError, match="never over others"):
        Pki.create(pki.folder, ["127.0.0.1"], "Test")
    assert pki.ca.read_bytes() == before
    with pytest.raises(SettingsError, match="--host"):
        Pki.create(tmp_path / "pki", [], "Test")
    with pytest.raises(SettingsError, match="neither a DNS name"):
        Pki.create(tmp_path / "pki", ["a b "], "Test")
    assert not (tmp_path / "pki").exists()


@pytest.mark.parametrize("rsa_bits", [None, 2048], ids=["P-256", "RSA"])
def test_a_device_gets_a_client_certificate_of_its_own_kind(pki, rsa_bits):
    key = new_key(rsa_bits=rsa_bits)
    issued = pki.issue(request_certificate(key, "i want to be the server"), "ven-1", "VTN")
    certificate, issuer = x509.load_pem_x509_certificates(issued.chain)
    certificate.verify_directly_issued_by(issuer)
    assert type(issuer.public_key()) is type(key.public_key())
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.rfc4514_string() == "CN=ven-1,O=VTN"
    assert set(usages(certificate)) == BOTH_ENDS


def test_a_certificate_never_outlives_its_authority(pki):
    issued = pki.issue(request_certificate(new_key(), "x"), "ven-1", "VTN", days=100_000).certificate
    assert issued.not_valid_after_utc == read_chain(pki.folder / "intermediate-ecdsa.pem")[0].not_valid_after_utc


def test_a_request_that_is_none_is_refused(pki):
    good = a_request(new_key())
    weak = a_request(rsa.generate_private_key(65537, 1024))
    other_curve = a_request(ec.generate_private_key(ec.SECP384R1()))
    lines = good.splitlines()
    unproven = b"\n".join([*lines[:-2], lines[-2][:-6] + b"AAAA==", lines[-1]])
    for request in (b"", b"no request", good[:100], weak, other_curve, unproven, good + b" " * 20_000):
        with pytest.raises(InvalidInput):
            pki.issue(request, "ven-1", "VTN")


def test_server_certificates_are_renewed_for_the_same_keys_and_names(tmp_path, pki):
    copy = tmp_path / "pki"
    copy.mkdir()
    for path in pki.folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
        (copy / path.name).chmod(path.stat().st_mode)
    renewed = Pki(copy)
    renewed.renew_servers(days=30)
    for kind in ("ecdsa", "rsa"):
        old, new = (read_chain(folder / f"server-{kind}.pem")[0] for folder in (pki.folder, copy))
        assert new.serial_number != old.serial_number
        assert new.public_key() == old.public_key() == read_key(copy / f"server-{kind}.key").public_key()
        names = [each.extensions.get_extension_for_class(x509.SubjectAlternativeName) for each in (old, new)]
        assert names[0] == names[1]
        assert (new.not_valid_after_utc - datetime.now(UTC)).days < 31
