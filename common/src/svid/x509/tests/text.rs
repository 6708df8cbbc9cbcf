//! Certificates as text, as bytes of the wire, and what is told about them.

use proptest::prelude::*;

use super::*;
use crate::secret::SecretBytes;

fn some() -> Vec<Certificate> {
    let root = root();
    vec![root.leaf(|leaf| leaf), root.certificate]
}

#[test]
fn certificates_one_after_the_other_are_split_again() {
    let certificates = some();
    let der = concatenated(&certificates);
    assert_eq!(der, [certificates[0].der(), certificates[1].der()].concat());
    assert_eq!(split(&der, 2), Ok(certificates));
    assert_eq!(split(&der, 1), Err(X509SvidError::TooMany(1)));
    assert_eq!(split(&[], 0), Ok(vec![]));
    for wrong in [&der[..der.len() - 1], &[der.as_slice(), &[0]].concat(), &[5, 0], b"-----BEGIN"] {
        assert_eq!(split(wrong, 16), Err(X509SvidError::Form));
    }
    let largest = tlv(0x30, &vec![0; MAX_CERTIFICATE_BYTES - 4]);
    assert_eq!(split(&largest, 1).unwrap().len(), 1);
    assert_eq!(split(&tlv(0x30, &vec![0; MAX_CERTIFICATE_BYTES - 3]), 1), Err(X509SvidError::TooLarge));
}

#[test]
fn text_is_read_back_from_one_file_with_the_key() {
    let certificates = some();
    let key = SecretBytes::new((0..138).collect());
    let text = [pem::write_private_key(&key).expose(), pem::write_certificates(&certificates).as_bytes()].concat();
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with(
        "-----BEGIN PRIVATE KEY-----\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v\n"
    ));
    assert!(text.ends_with("\n-----END CERTIFICATE-----\n"));
    assert!(text.lines().all(|line| line.len() <= 64));
    assert_eq!(pem::read_certificates(&text, 2), Ok(certificates.clone()));
    assert_eq!(pem::read_private_key(&text).unwrap().expose(), key.expose());
    assert_eq!(pem::read_certificates(&text, 1), Err(X509SvidError::TooMany(1)));
    // As Windows ends lines, and with words between the blocks.
    let other = format!("subject=\n{}", text.replace('\n', "\r\n")).replace("-----BEGIN C", "and then\r\n-----BEGIN C");
    assert_eq!(pem::read_certificates(&other, 2), Ok(certificates));
}

#[test]
fn text_without_what_is_looked_for_says_so() {
    assert_eq!(pem::read_certificates("", 16), Err(X509SvidError::NoCertificate));
    assert_eq!(pem::read_certificates("-----BEGIN X-----\n-----END X-----\n", 16), Err(X509SvidError::NoCertificate));
    let other = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
    assert_eq!(pem::read_private_key(other).err(), Some(X509SvidError::NoPrivateKey));
}

#[test]
fn malformed_blocks_name_the_line_that_begins_them() {
    let texts = [
        "\n-----BEGIN CERTIFICATE-----\nAAAA\n",
        "\n-----BEGIN CERTIFICATE-----",
        "\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "\n-----BEGIN CERTIFICATE-----\nAAAA\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "\n-----BEGIN CERTIFICATE-----\nAA*A\n-----END CERTIFICATE-----\n",
        "\n-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n",
        "\n-----BEGIN CERTIFICATE-----\nAA==AAAA\n-----END CERTIFICATE-----\n",
        "\n-----BEGIN X-----\n",
    ];
    for text in texts {
        assert_eq!(pem::read_certificates(text, 16), Err(X509SvidError::Pem(2)), "{text}");
    }
    let long = pem::write_certificates(&[Certificate::from_der(vec![0; MAX_CERTIFICATE_BYTES + 3])]);
    assert_eq!(pem::read_certificates(&long, 16), Err(X509SvidError::TooLarge));
}

#[test]
fn facts_are_what_the_certificate_says() {
    let root = root();
    let leaf = root.leaf(|leaf| leaf.named(&[dns("a.example.org"), uri(ID), dns("b.example.org")]));
    let expected = CertificateFacts {
        spiffe_id: Some(SpiffeId::parse(ID).unwrap()),
        dns_names: vec!["a.example.org".into(), "b.example.org".into()],
        serial: "17".repeat(16),
        not_before: before(NOW, Duration::from_secs(30)),
        not_after: NOW.after(HOUR),
        authority_key_id: Some("04".repeat(20)),
        subject_key_id: Some("88".repeat(20)),
        key_algorithm: "EC P-256".into(),
        is_authority: false,
    };
    assert_eq!(facts(&leaf), Ok(expected));
    let of_root = facts(&root.certificate).unwrap();
    assert_eq!((of_root.is_authority, of_root.authority_key_id), (true, None));
    assert_eq!(of_root.spiffe_id, Some(SpiffeId::parse("spiffe://example.org").unwrap()));
    assert_eq!(facts(&Certificate::from_der(b"x".as_slice())), Err(X509SvidError::Malformed(Place::Alone)));
}

#[test]
fn facts_name_the_type_of_any_key() {
    let of = |spki: Vec<u8>| facts(&root().leaf(|leaf| leaf.but(|leaf| leaf.spki = spki))).unwrap().key_algorithm;
    let kinds: Vec<_> = Key::of_every_kind().into_iter().take(5).map(|(_, key)| of(key.spki())).collect();
    assert_eq!(kinds, ["EC P-256", "EC P-384", "EC P-521", "EC P-521", "RSA 2048"]);
    let ed25519 = sequence(&[&sequence(&[&oid(&[0x2b, 0x65, 0x70])]), &tlv(0x03, &[0; 33])]);
    assert_eq!(of(ed25519), "other (1.3.101.112)");
}

#[test]
fn facts_write_a_serial_number_without_leading_zeros() {
    let of = |serial: &[u8]| facts(&root().leaf(|leaf| leaf.but(|leaf| leaf.serial = serial.to_vec()))).unwrap().serial;
    assert_eq!([of(&[0]), of(&[0, 0x80]), of(&[10]), of(&[0xff, 0])], ["00", "80", "0a", "ff00"]);
}

#[test]
fn what_operators_read_says_which_certificate() {
    let texts =
        [Place::Chain(1), Place::Chain(3), Place::Authority].map(|place| X509SvidError::Expired(place).to_string());
    assert_eq!(
        texts,
        [
            "the leaf certificate has expired",
            "certificate 3 of the chain has expired",
            "the X.509 authority in the bundle has expired"
        ]
    );
}

proptest! {
    #[test]
    fn any_bytes_are_text_and_back(ders in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..4)) {
        let certificates: Vec<_> = ders.iter().map(|der| Certificate::from_der(der.as_slice())).collect();
        prop_assert_eq!(pem::read_certificates(&pem::write_certificates(&certificates), 3), Ok(certificates));
        let key = SecretBytes::new(ders.concat());
        let text = String::from_utf8(pem::write_private_key(&key).expose().to_vec()).unwrap();
        let read = pem::read_private_key(&text).ok().unwrap();
        prop_assert_eq!(read.expose(), key.expose());
    }

    #[test]
    fn any_elements_are_split_again(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4)) {
        let certificates: Vec<_> = contents.iter().map(|content| Certificate::from_der(tlv(0x30, content))).collect();
        prop_assert_eq!(split(&concatenated(&certificates), 4), Ok(certificates));
    }
}
