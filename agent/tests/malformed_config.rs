//! Golden texts of refusals: for each `malformed-config/NAME.toml` exactly the problems in
//! `malformed-config/NAME.expected` are told.

use std::fs;
use std::path::Path;

use countersign_agent::config::Config;

#[test]
fn every_malformed_configuration_is_refused_with_its_golden_text() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/malformed-config");
    let mut files = 0;
    let mut differences = String::new();
    for file in fs::read_dir(&directory).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        files += 1;
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let said = match Config::parse(name, &text) {
            Ok(_) => "taken\n".to_owned(),
            Err(problems) => problems.iter().map(|problem| format!("{problem}\n")).collect(),
        };
        let expected = fs::read_to_string(path.with_extension("expected")).unwrap_or_default();
        if said != expected {
            differences.push_str(&format!("== {name} is expected to say\n{expected}== and says\n{said}"));
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
    assert!(files >= 8, "only {files} files in {}", directory.display());
}
