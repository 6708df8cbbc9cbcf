//! The documented configuration, held to the reader: it parses to the defaults, shows every
//! key that the reader knows, and no other.

use std::collections::BTreeSet;

use countersign_common::document::{Node, Value, parse_toml};

use super::*;

const DOCUMENTED: &str = include_str!("../../../deploy/config/agent.toml");

/// The documented file with the keys that it shows commented out: `#key = value`, where
/// prose has a blank after the `#`.
fn with_optional_keys() -> String {
    let shown = |line: &str| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{key}\n"),
        _ => format!("{line}\n"),
    };
    DOCUMENTED.lines().map(shown).collect()
}

/// Dotted names of all values and of all tables in a document.
fn names(node: &Node, path: &str, keys: &mut BTreeSet<String>, tables: &mut BTreeSet<String>) {
    let Value::Mapping(fields) = &node.value else {
        keys.insert(path.to_owned());
        return;
    };
    tables.insert(path.to_owned());
    for field in fields {
        let dot = if path.is_empty() { "" } else { "." };
        names(&field.node, &format!("{path}{dot}{}", field.name), keys, tables);
    }
}

/// What the reader knows in table `table`, as it tells whoever writes an unknown key there.
fn known_in(table: &str) -> Vec<String> {
    let header = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
    let problems = Config::parse("a.toml", &format!("{header}zzz = 1\n")).unwrap_err();
    let reason = problems.iter().find_map(|problem| problem.reason.strip_prefix("unknown key \"zzz\"; "));
    let listed = reason.and_then(|reason| match reason.strip_prefix("known here are ") {
        Some(several) => Some(several),
        None => reason.strip_prefix("only ")?.strip_suffix(" is known here"),
    });
    let listed = listed.unwrap_or_else(|| panic!("[{table}]: {problems:?}"));
    let dot = if table.is_empty() { "" } else { "." };
    listed.split(", ").flat_map(|part| part.split(" and ")).map(|name| format!("{table}{dot}{name}")).collect()
}

#[test]
fn the_documented_file_shows_the_defaults() {
    let least = Config::parse("least.toml", "trust_domain = \"example.org\"\n").unwrap();
    assert_eq!(Config::parse("agent.toml", DOCUMENTED), Ok(least));
}

#[test]
fn the_documented_file_shows_every_key_and_no_other() {
    let document = parse_toml("agent.toml", &with_optional_keys()).unwrap();
    let (mut keys, mut tables) = (BTreeSet::new(), BTreeSet::new());
    names(&document, "", &mut keys, &mut tables);
    let known: BTreeSet<_> = tables.iter().flat_map(|table| known_in(table)).collect();
    tables.remove("");
    let shown: BTreeSet<_> = keys.union(&tables).cloned().collect();
    assert_eq!(shown, known);
}

#[test]
fn every_documented_key_has_its_comment() {
    let mut before = "";
    for line in DOCUMENTED.lines() {
        let key = line
            .trim_start_matches('#')
            .split(" = ")
            .next()
            .filter(|_| line.contains(" = ") && !line.starts_with("# "));
        if let Some(key) = key {
            assert!(before.starts_with("# "), "{key} has no comment above it");
        }
        before = line;
    }
}

#[test]
fn every_value_can_be_set() {
    let text = r#"
        trust_domain = "example.org"
        data_dir = "/d"
        drain = "1m"
        workload_api = { socket = "/w/s", hold = "0s", max_connections = 7 }
        admission = { max_requests = 8, max_streams = 9, hash_bytes = 0x20_0000, hash_bytes_per_second = 4096 }
        admin_api = { socket = "/a/s", uids = [1, 2], gids = [3] }
        authority = { algorithm = "RS256", key_life = "48h", x509_key_life = "2880h", upstream = { certificate = "/u", key = "/v" }, sealing_key.file = "/k", pkcs11 = { module = "/m.so", token = "t", pin.file = "/p" }, refresh_hint = "1m" }
        jwt = { issuer = "https://id.example.org", default_ttl = "1m", max_ttl = "2m" }
        x509 = { default_ttl = "30m", max_ttl = "720h" }
        attest = { max_executable_bytes = 0x10_0000, parallel_hashes = 3, docker.socket = "/run/d" }
        audit = { file = "/l", max_bytes = 65_536, keep = 4 }
        log = { filter = "info,h2=warn", format = "json" }
    "#;
    let seconds = Duration::from_secs;
    let expected = Config {
        trust_domain: TrustDomain::parse("example.org").unwrap(),
        data_dir: "/d".into(),
        drain: seconds(60),
        workload_api: WorkloadApi { socket: "/w/s".into(), hold: seconds(0), max_connections: 7 },
        admission: Admission { max_requests: 8, max_streams: 9, hash_bytes: 2 << 20, hash_bytes_per_second: 4096 },
        admin_api: AdminApi { socket: "/a/s".into(), uids: vec![1, 2], gids: vec![3] },
        authority: Authority {
            algorithm: Algorithm::Rs256,
            key_life: seconds(48 * 3600),
            x509_key_life: seconds(2880 * 3600),
            upstream: Some(Upstream { certificate: "/u".into(), key: "/v".into() }),
            sealing_key: SecretSource::File("/k".into()),
            pkcs11: Some(Pkcs11 {
                module: "/m.so".into(),
                token: "t".to_owned(),
                pin: SecretSource::File("/p".into()),
            }),
            refresh_hint: seconds(60),
        },
        jwt: Jwt { issuer: Some("https://id.example.org".to_owned()), default_ttl: seconds(60), max_ttl: seconds(120) },
        x509: X509 { default_ttl: seconds(1800), max_ttl: seconds(30 * 24 * 3600) },
        attest: Attest {
            max_executable_bytes: 1 << 20,
            parallel_hashes: 3,
            docker: Docker { socket: Some("/run/d".into()) },
        },
        audit: Audit { file: "/l".into(), max_bytes: 65_536, keep: 4 },
        log: Log { filter: "info,h2=warn".to_owned(), format: LogFormat::Json },
    };
    assert_eq!(Config::parse("a.toml", text), Ok(expected));
}

#[test]
fn the_example_entries_are_entries() {
    let text = include_str!("../../../deploy/config/entries.yaml");
    let domain = TrustDomain::parse("example.org").unwrap();
    let entries = countersign_common::entry::parse_entries("entries.yaml", text, Some(&domain)).unwrap();
    assert!(entries.len() > 1, "the example shows several entries");
    assert!(entries.iter().any(|entry| !entry.jwt.audience_ttl.is_empty()), "lives by audience are shown");
}
