//! What can be written as a selector, and what cannot.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[test]
fn every_kind_is_read_as_it_is_written() {
    let sha256 = "0".repeat(64);
    let image = format!("sha256:{sha256}");
    for kind in SelectorKind::ALL {
        let candidates = ["7", "/a:b", "true", "trusted", "filter", "docker", "a.slice", "CAP_CHOWN", "key:value"];
        let candidates = candidates.into_iter().chain(["a.service", &sha256, &sha256[..32], &image]);
        let value = candidates.into_iter().find(|value| Selector::new(kind, value).is_ok()).unwrap();
        let text = format!("{kind}:{value}");
        let selector: Selector = text.parse().unwrap();
        assert_eq!((selector.kind(), selector.to_string()), (kind, text));
    }
}

#[test]
fn a_set_has_each_selector_once_in_their_order() {
    let texts = ["unix:path:/b", "docker:label:a:b", "unix:path:/a", "unix:uid:10", "unix:uid:9", "unix:path:/b"];
    let selectors = texts.map(|text| text.parse::<Selector>().unwrap());
    let set = SelectorSet::from(selectors.clone());
    let written: Vec<_> = set.iter().map(|selector| selector.to_string()).collect();
    assert_eq!(written, ["unix:uid:10", "unix:uid:9", "unix:path:/a", "unix:path:/b", "docker:label:a:b"]);
    assert_eq!((set.len(), set.is_empty(), SelectorSet::default().is_empty()), (5, false, true));
    let held = BTreeSet::from(selectors);
    assert!(set.iter().map(SelectorRef::to_selector).eq(held.iter().cloned()));
    let other: Selector = "unix:path:/".parse().unwrap();
    assert!(set.iter().all(|selector| selector.is_in(&held)) && !other.by_ref().is_in(&held));
}

#[test]
fn near_misses_are_suggested_and_far_ones_are_not() {
    for (text, said) in [
        ("unix:uids:1", "no attestor provides selectors \"unix:uids\", did you mean \"unix:uid\"?"),
        ("unix:sha265:1", "no attestor provides selectors \"unix:sha265\", did you mean \"unix:sha256\"?"),
        ("Unix:User:root", "no attestor provides selectors \"Unix:User\", did you mean \"unix:user\"?"),
        ("k8s:ns:default", "no attestor provides selectors \"k8s:ns\""),
        ("unix:1001", "selector \"unix:1001\" is not of the form type:key:value, such as unix:uid:1001"),
        ("unix:uid:root", "selector unix:uid: value \"root\" is not a decimal number from 0 to 4294967295"),
        ("unix:uid:01", "selector unix:uid: value \"01\" is not a decimal number from 0 to 4294967295"),
        ("unix:path:bin/x", "selector unix:path: value \"bin/x\" is not an absolute path"),
        ("unix:sha256:AB", "selector unix:sha256: value \"AB\" is not 64 lower-case hexadecimal digits"),
        ("unix:user:", "selector unix:user: value \"\" is empty"),
        ("container:id:AB", "selector container:id: value \"AB\" is not 64 lower-case hexadecimal digits"),
        (
            "systemd:slice:system",
            "selector systemd:slice: value \"system\" is not the name of a slice, such as system.slice",
        ),
        (
            "process:parent:pid:1",
            "no attestor provides selectors \"process:parent\", did you mean \"process:parent:path\"?",
        ),
        (
            "process:cap:CAP_SYS_PTRACER",
            "selector process:cap: value \"CAP_SYS_PTRACER\" is not the name of a capability, \
             such as CAP_NET_BIND_SERVICE",
        ),
        ("docker:label:team", "selector docker:label: value \"team\" is not of the form key:value"),
        ("docker:label::orders", "selector docker:label: value \":orders\" is not of the form key:value"),
        (
            "docker:env:PASSWORD=x",
            "selector docker:env: value \"PASSWORD=x\" is not the name of a variable alone; values, which may be secret, are no selectors",
        ),
        (
            "docker:image_id:orders:1",
            "selector docker:image_id: value \"orders:1\" is not sha256: and 64 lower-case hexadecimal digits; names and tags of images are no selectors",
        ),
    ] {
        assert_eq!(text.parse::<Selector>().unwrap_err().to_string(), said);
    }
}

#[test]
fn a_pods_uid_is_a_uuid_or_the_digest_of_its_file() {
    let uuid = "0a1b2c3d-1111-2222-3333-444455556666";
    for uid in [uuid, &"0a".repeat(16)] {
        assert!(is_pod_uid(uid), "{uid}");
    }
    let upper = uuid.to_uppercase();
    for text in ["", "-", "7", &uuid[1..], &uuid.replace('-', "_"), &upper, &format!("{uuid}-"), "0-a-1-b-2"] {
        assert!(!is_pod_uid(text), "{text}");
    }
}

proptest! {
    #[test]
    fn a_number_has_one_spelling(text in "[0-9+ -]{0,11}") {
        let known = text.parse::<u32>().ok().map(|n| n.to_string()) == Some(text.clone());
        prop_assert_eq!(Selector::new(SelectorKind::UnixUid, &text).is_ok(), known);
    }
}
