"""What the scenarios say of X509-SVIDs and X.509 bundles, after they were checked."""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from spiffe import WorkloadApiClient

from events import CALL_SECONDS, Unexpected, refusal_of, say


def hex_of(number):
    return number.to_bytes((number.bit_length() + 7) // 8).hex()


def authority_of(certificate):
    extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    return extension.value.key_identifier.hex()


def key_id_of(certificate):
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()


def authorities_of(bundle):
    """The authorities of a bundle, by their subject key ids."""
    return sorted(key_id_of(authority) for authority in bundle.x509_authorities)


def check(svid, bundle):
    """The library leaves both to its user: that the key is the leaf's, and that the chain leads to the bundle."""

    def public(key):
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    if public(svid.private_key.public_key()) != public(svid.leaf.public_key()):
        raise Unexpected("the key is not the leaf's")
    chain = svid.cert_chain
    for issued, issuer in zip(chain, chain[1:]):
        issued.verify_directly_issued_by(issuer)
    authorities = {key_id_of(authority): authority for authority in bundle.x509_authorities}
    authority = authorities.get(authority_of(chain[-1]))
    if authority is None:
        raise Unexpected(f"no authority {authority_of(chain[-1])} in the bundle")
    chain[-1].verify_directly_issued_by(authority)


def say_x509_svid(svid, bundles):
    bundle = bundles.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    if bundle is None:
        raise Unexpected(f"no bundle of {svid.spiffe_id.trust_domain}")
    check(svid, bundle)
    say(
        event="x509-svid",
        spiffe_id=str(svid.spiffe_id),
        serial=hex_of(svid.leaf.serial_number),
        not_before=int(svid.leaf.not_valid_before_utc.timestamp()),
        not_after=int(svid.leaf.not_valid_after_utc.timestamp()),
        authority=authority_of(svid.leaf),
        authorities=authorities_of(bundle),
    )


def fetch():
    with WorkloadApiClient() as client:
        context = client.fetch_x509_context(timeout=CALL_SECONDS)
        for svid in context.x509_svids:
            say_x509_svid(svid, context.x509_bundle_set)


def refused():
    with WorkloadApiClient() as client:
        code = refusal_of(lambda: client.fetch_x509_svids(timeout=CALL_SECONDS))
        say(event="refused", code=code)


def say_bundles():
    """Asks anew, by the call for bundles: a source goes by that for SVIDs."""
    with WorkloadApiClient() as client:
        bundles = client.fetch_x509_bundles(timeout=CALL_SECONDS).bundles
    say(event="x509-bundles", bundles={str(bundle.trust_domain): authorities_of(bundle) for bundle in bundles})
