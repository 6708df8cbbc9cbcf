//! The same ECDSA signature in two forms, and a public point in two forms.

/// Bytes of each half of a P-256 signature, and of each coordinate of a point.
const HALF: usize = 32;

/// An uncompressed point of P-256 (SEC 1, section 2.3.3).
pub(super) const POINT_BYTES: usize = 1 + 2 * HALF;

/// Writes r and s, which PKCS#11 and JOSE put behind one another, as X.509 has them: a SEQUENCE of
/// two INTEGERs (RFC 3279, section 2.2.3). `None` unless they are those of P-256.
pub(in crate::authority::embedded) fn to_asn1(fixed: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = fixed.split_at_checked(HALF).filter(|(_, s)| s.len() == HALF)?;
    let body = [integer(r)?, integer(s)?].concat();
    Some([&[0x30, u8::try_from(body.len()).ok()?], body.as_slice()].concat())
}

/// A positive INTEGER has no zero in front but the one that keeps it positive (X.690, section 8.3).
fn integer(bytes: &[u8]) -> Option<Vec<u8>> {
    let first = bytes.iter().position(|byte| *byte != 0)?;
    let digits = bytes.get(first..)?;
    let zero: &[u8] = if digits.first()? & 0x80 == 0 { &[] } else { &[0] };
    let length = u8::try_from(zero.len() + digits.len()).ok()?;
    Some([&[0x02, length], zero, digits].concat())
}

/// The point in a CKA_EC_POINT: an OCTET STRING by the standard (version 2.40, Current Mechanisms,
/// section 2.3.3), and in some tokens the point itself.
pub(super) fn point(attribute: &[u8]) -> Option<&[u8]> {
    let point = match attribute {
        [0x04, length, point @ ..] if usize::from(*length) == POINT_BYTES && point.len() == POINT_BYTES => point,
        bare => bare,
    };
    (point.len() == POINT_BYTES && point.first() == Some(&0x04)).then_some(point)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
    };

    use super::*;

    #[test]
    fn a_signature_is_the_same_in_both_forms() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let known = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key().as_ref());
        // Enough for halves that begin with a zero, and for those whose highest bit is set.
        for number in 0..1000_u32 {
            let message = number.to_be_bytes();
            let fixed = pair.sign(&SystemRandom::new(), &message).unwrap();
            known.verify(&message, &to_asn1(fixed.as_ref()).unwrap()).unwrap();
        }
    }

    #[test]
    fn the_shortest_and_the_longest_number_are_written_as_der_has_them() {
        let mut fixed = [0; 64];
        (fixed[31], fixed[32]) = (1, 0x80);
        let written = to_asn1(&fixed).unwrap();
        assert_eq!(written[..5], [0x30, 38, 0x02, 1, 1]);
        assert_eq!((written[5..9].to_vec(), written.len()), (vec![0x02, 33, 0, 0x80], 40));
        assert!(to_asn1(&[0; 64]).is_none(), "no signature has a zero");
        assert!(to_asn1(&[1; 63]).is_none() && to_asn1(&[1; 65]).is_none() && to_asn1(&[]).is_none());
    }

    #[test]
    fn a_point_is_taken_with_and_without_its_wrapping() {
        let bare = [vec![4], vec![7; 64]].concat();
        let wrapped = [vec![4, 65], bare.clone()].concat();
        assert_eq!(point(&bare), Some(bare.as_slice()));
        assert_eq!(point(&wrapped), Some(bare.as_slice()));
        for wrong in [&wrapped[..66], &bare[1..], &[], &[4, 65], &[2; 65]] {
            assert_eq!(point(wrong), None, "{wrong:?}");
        }
    }
}
