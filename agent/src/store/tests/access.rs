//! Who may have the file, and what is said when it cannot be used.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use countersign_common::spiffe_id::TrustDomain;

use super::{Store, entry_for, open};

/// What opening says, with the directory's name taken out.
fn refusal(path: &Path) -> String {
    let directory = path.parent().unwrap().to_str().unwrap();
    open(path).unwrap_err().to_string().replace(directory, "DIR")
}

#[tokio::test]
async fn a_new_file_is_for_the_agent_only_and_stands_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = open(&path).unwrap();
    store.apply(vec![entry_for("a", 1)], false, false).await.unwrap();
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
    let names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["store.redb"]);
}

#[tokio::test]
async fn one_agent_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = open(&path).unwrap();
    assert_eq!(
        refusal(&path),
        "the database DIR/store.redb is in use by another process; \
         stop the other agent, or give this one a database of its own"
    );
    store.close().await;
    assert!(open(&path).is_ok());
}

#[tokio::test]
async fn the_database_of_another_trust_domain_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    Store::open(&path, &TrustDomain::parse("other.example").unwrap()).unwrap().close().await;
    assert_eq!(
        refusal(&path),
        "the database DIR/store.redb is of trust domain other.example, and the agent is configured for example.org; \
         correct trust_domain, or give this agent a database of its own"
    );
}

#[tokio::test]
async fn a_file_or_directory_that_others_can_use_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    open(&path).unwrap().close().await;
    for mode in [0o640, 0o604, 0o620, 0o660] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(
            refusal(&path),
            "DIR/store.redb can be used by group or others; \
             chmod 600, and ask who read it: it holds the sealed keys"
        );
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    for mode in [0o770, 0o702, 0o1777] {
        fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
        assert_eq!(refusal(&path), "DIR can be written by group or others; chmod 700");
    }
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    assert!(open(&path).is_ok());
}

#[test]
fn a_directory_that_is_not_there_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(
        refusal(&directory.path().join("none/store.redb")).replace("/none", ""),
        "the database's directory DIR cannot be used: No such file or directory (os error 2); \
         create it, owned by the agent's user, mode 0700"
    );
}

#[test]
fn a_link_in_the_place_of_the_file_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    symlink(directory.path().join("elsewhere"), &path).unwrap();
    assert!(refusal(&path).starts_with("cannot open the database DIR/store.redb: "));
    assert!(!directory.path().join("elsewhere").exists());
}

#[test]
fn what_is_no_database_of_ours_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    fs::write(&path, "spiffe_id: spiffe://example.org/a\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let said = "DIR/store.redb is not a database of Countersign; set the path of the store to another file";
    assert_eq!(refusal(&path), said);

    fs::remove_file(&path).unwrap();
    drop(redb::Database::create(&path).unwrap());
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(refusal(&path), said);
}

#[test]
fn a_later_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let database = redb::Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, &str>::new("meta");
    transaction.open_table(meta).unwrap().insert("format", "3").unwrap();
    transaction.commit().unwrap();
    drop(database);
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        refusal(&path),
        "the database DIR/store.redb has format 3, and this release knows formats up to 2; \
         run the release that wrote it, or a later one"
    );
}
