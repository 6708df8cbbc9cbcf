//! The form of a certificate: what of it has to be there whole, once and understood.

use super::*;

fn refused(change: impl FnOnce(Draft) -> Draft) -> X509SvidError {
    verdict_on_leaf(change).unwrap_err()
}

const MALFORMED: X509SvidError = X509SvidError::Malformed(Place::Chain(1));

#[test]
fn only_version_3_is_read() {
    for version in [vec![], tlv(0xa0, &tlv(0x02, &[1])), tlv(0xa0, &tlv(0x02, &[3]))] {
        assert_eq!(refused(|leaf| leaf.but(|leaf| leaf.version = version)), MALFORMED);
    }
}

#[test]
fn an_extension_stands_once() {
    let twice = |leaf: Draft| {
        leaf.but(|leaf| {
            let again = leaf.extensions[0].clone();
            leaf.extensions.push(again);
        })
    };
    assert_eq!(refused(twice), X509SvidError::RepeatedExtension(Place::Chain(1)));
}

#[test]
fn an_unknown_extension_is_passed_over_unless_it_is_critical() {
    const UNKNOWN: u8 = 99;
    assert!(verdict_on_leaf(|leaf| leaf.with(UNKNOWN, false, b"anything")).is_ok());
    let critical = refused(|leaf| leaf.with(UNKNOWN, true, b"anything"));
    assert_eq!(critical, X509SvidError::CriticalExtension(Place::Chain(1)));
    for (number, value) in [(SKI, tlv(0x04, &[1])), (AKI, sequence(&[&tlv(0x80, &[1])]))] {
        assert!(verdict_on_leaf(|leaf| leaf.with(number, false, &value)).is_ok());
        assert_eq!(refused(|leaf| leaf.with(number, true, &value)), critical);
    }
}

#[test]
fn an_extension_that_is_judged_is_not_absent_because_it_is_malformed() {
    let good = root().leaf_draft().extensions;
    assert_eq!(good.len(), 6);
    for extension in good {
        let (number, critical, value) = (extension.number, extension.critical, extension.value);
        let longer = [value.as_slice(), &[5, 0]].concat();
        for value in [&[], &value[..value.len() - 1], longer.as_slice(), &[0x0c, 1, b'x']] {
            assert_eq!(refused(|leaf| leaf.with(number, critical, value)), MALFORMED, "{number} {value:02x?}");
        }
    }
}

#[test]
fn a_name_that_cannot_be_read_refuses() {
    for name in [tlv(0x86, &[0xff]), tlv(0x82, &[0xff]), tlv(0x8c, b"x"), vec![0x86], vec![0x0c, 1, b'x']] {
        assert_eq!(refused(|leaf| leaf.named(&[uri(ID), name])), MALFORMED);
    }
}

#[test]
fn the_algorithm_outside_is_the_one_inside() {
    assert_eq!(refused(|leaf| leaf.but(|leaf| leaf.algorithm_outside = Some(pkcs1(11)))), MALFORMED);
}

#[test]
fn nothing_stands_behind_a_certificate_or_its_signature() {
    let root = root();
    let leaf = root.leaf(|leaf| leaf);
    let after = [leaf.der(), &[5, 0]].concat();
    let whole = der::element(leaf.der()).unwrap();
    let inside = tlv(0x30, &[whole.content, &[5, 0]].concat());
    for der in [after, inside, leaf.der()[..leaf.der().len() - 1].to_vec(), vec![], b"-----BEGIN".to_vec()] {
        assert_eq!(verdict(&[Certificate::from_der(der)], &[&root]), Err(MALFORMED));
    }
}

#[test]
fn every_bit_of_a_certificate_counts() {
    let root = root();
    let leaf = root.leaf(|leaf| leaf);
    for at in 0..leaf.der().len() {
        for bit in 0..8 {
            let mut der = leaf.der().to_vec();
            der[at] ^= 1 << bit;
            assert!(verdict(&[Certificate::from_der(der)], &[&root]).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn a_certificate_has_a_longest_length() {
    let names = vec![dns(&"a".repeat(200)); 200];
    assert_eq!(refused(|leaf| leaf.named(&names)), X509SvidError::TooLarge);
    let most = [vec![uri(&format!("{ID}/{}", "a".repeat(2000)))], vec![dns(&"a".repeat(253)); 32]].concat();
    assert!(verdict_on_leaf(|leaf| leaf.named(&most)).is_ok());
}

#[test]
fn der_has_one_way_to_write_a_length() {
    let bytes = |der: &[u8]| der::element(der).map(|element| element.content.len());
    assert_eq!(bytes(&tlv(4, &[7; 127])), Some(127));
    assert_eq!(bytes(&tlv(4, &[7; 128])), Some(128));
    assert_eq!(bytes(&tlv(4, &[7; 300])), Some(300));
    let wrong: [&[u8]; 8] = [
        &[],
        &[4],
        &[4, 2, 0],
        &[4, 0x81, 1, 0],
        &[4, 0x82, 0, 0x80],
        &[4, 0x80, 0, 0],
        &[0x1f, 1, 0],
        &[4, 0x85, 0, 0, 0, 0, 0x80],
    ];
    for der in wrong {
        assert_eq!(bytes(der), None, "{der:02x?}");
    }
}
