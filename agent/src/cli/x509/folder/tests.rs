//! What is in the directory after each step, and what is refused.

use std::collections::BTreeSet;

use countersign_common::secret::SecretBytes;

use super::*;

/// A directory with a way to it that nobody else may change.
fn place() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn take(place: &TempDir) -> Folder {
    Folder::take(place.path(), 0o600).unwrap()
}

/// Files of one generation: each says which.
fn files(generation: &str) -> Vec<NamedFile> {
    let key = |name| (name, Content::Key(SecretBytes::new(format!("key {generation}").into_bytes())));
    let public = |name| (name, Content::Public(format!("certificate {generation}")));
    let all = [key("key.pem"), key("svid_and_key.pem"), public("svid.pem"), public("bundle.pem")];
    let federated = public("federated/other.org.pem");
    all.into_iter().chain([federated]).map(|(name, content)| NamedFile { name: name.into(), content }).collect()
}

fn read(place: &TempDir, name: &str) -> Option<String> {
    fs::read_to_string(place.path().join(name)).ok()
}

fn mode(place: &TempDir, name: &str) -> u32 {
    place.path().join(name).metadata().unwrap().mode() & 0o7777
}

/// The names of generations that are there.
fn generations(place: &TempDir) -> BTreeSet<String> {
    let names = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(GENERATION)).collect()
}

/// The proof that nobody meets the files of two generations in one moment: every name leads through
/// one link, that link is replaced by rename(2), and no file of a generation is written after that.
#[test]
fn every_name_leads_through_the_one_link_to_one_generation() {
    let place = place();
    let folder = take(&place);
    assert!(!folder.replace(&files("one")).unwrap(), "nothing was there before");
    let first = fs::read_link(place.path().join(DATA)).unwrap();
    let inode = |name: &str| place.path().join(name).symlink_metadata().unwrap().ino();
    let names = NAMES.map(inode);
    assert!(folder.replace(&files("two")).unwrap());
    let second = fs::read_link(place.path().join(DATA)).unwrap();

    assert_ne!(first, second);
    assert_eq!(NAMES.map(inode), names, "the names themselves are not touched again");
    for entry in fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        if !name.starts_with("..") {
            assert_eq!(fs::read_link(entry.path()).unwrap(), Path::new(DATA).join(&name));
        }
    }
    let of = |generation: &Path, name: &str| fs::read_to_string(place.path().join(generation).join(name)).unwrap();
    for name in ["key.pem", "svid_and_key.pem", "svid.pem", "bundle.pem", "federated/other.org.pem"] {
        assert!(of(&first, name).ends_with("one"), "what was there is as it was");
        assert!(of(&second, name).ends_with("two"));
        assert!(read(&place, name).unwrap().ends_with("two"));
    }
    folder.remove_old().unwrap();
    assert_eq!(generations(&place), BTreeSet::from([second.display().to_string()]));
}

#[test]
fn keys_are_for_their_owner_and_certificates_for_everybody_whatever_the_mask() {
    let place = place();
    take(&place).replace(&files("one")).unwrap();
    for (name, expected) in [
        ("key.pem", 0o600),
        ("svid_and_key.pem", 0o600),
        ("svid.pem", 0o644),
        ("bundle.pem", 0o644),
        ("federated/other.org.pem", 0o644),
        ("federated", 0o755),
        (DATA, 0o755),
        (LOCK, 0o600),
    ] {
        assert_eq!(mode(&place, name), expected, "{name}");
    }
}

#[test]
fn a_directory_of_a_group_gives_the_key_to_that_group() {
    let place = place();
    fs::set_permissions(place.path(), Permissions::from_mode(0o2750)).unwrap();
    Folder::take(place.path(), 0o640).unwrap().replace(&files("one")).unwrap();
    assert_eq!((mode(&place, "key.pem"), mode(&place, DATA)), (0o640, 0o2755));
    let group = |name: &str| place.path().join(name).metadata().unwrap().gid();
    assert_eq!(group("key.pem"), group("."));
}

#[test]
fn a_write_that_fails_leaves_what_was_there_and_nothing_of_its_own() {
    let place = place();
    let folder = take(&place);
    folder.replace(&files("one")).unwrap();
    let before = generations(&place);
    let mut bad = files("two");
    // Fails after the others were written, as on a full disk.
    bad.push(NamedFile { name: "no/such/folder.pem".into(), content: Content::Public(String::new()) });
    let told = folder.replace(&bad).unwrap_err().to_string();
    assert!(told.contains("nothing is changed there"), "{told}");
    assert_eq!(generations(&place), before);
    assert_eq!(read(&place, "svid_and_key.pem").unwrap(), "key one");
}

#[test]
fn withdrawing_takes_all_names_at_once_and_the_next_write_brings_them_back() {
    let place = place();
    let folder = take(&place);
    folder.replace(&files("one")).unwrap();
    folder.withdraw().unwrap();
    folder.withdraw().unwrap();
    assert!(NAMES.iter().all(|name| read(&place, name).is_none()));
    assert!(generations(&place).is_empty(), "no key is left");
    assert!(folder.replace(&files("two")).unwrap(), "whoever used the first wants to be told");
    assert_eq!(read(&place, "key.pem").unwrap(), "key two");
}

#[test]
fn what_an_interrupted_run_left_is_removed_by_the_next() {
    let place = place();
    take(&place).replace(&files("one")).unwrap();
    let current = generations(&place);
    fs::create_dir_all(place.path().join(GENERATION.to_owned() + "left/federated")).unwrap();
    fs::write(place.path().join(GENERATION.to_owned() + "left/key.pem"), "an old key").unwrap();
    symlink("nowhere", place.path().join(NEXT_DATA)).unwrap();
    let folder = take(&place);
    assert_eq!(generations(&place), current);
    assert_eq!(read(&place, "key.pem").unwrap(), "key one", "what is in use stays");
    folder.replace(&files("two")).unwrap();
}

#[test]
fn a_directory_that_others_may_change_is_refused() {
    let place = place();
    for (mode, reason) in [(0o777, "written by others"), (0o1777, "written by others"), (0o757, "written by others")] {
        fs::set_permissions(place.path(), Permissions::from_mode(mode)).unwrap();
        let told = Folder::take(place.path(), 0o600).err().unwrap().to_string();
        assert!(told.contains(reason), "{mode:o}: {told}");
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "nothing was put there");
    let open = place.path().join("open");
    fs::create_dir_all(open.join("inner")).unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    let told = Folder::take(&open.join("inner"), 0o600).err().unwrap().to_string();
    assert!(told.contains("open may be written by others"), "on the way too: {told}");
}

#[test]
fn there_must_be_a_directory() {
    let place = place();
    fs::write(place.path().join("file"), "").unwrap();
    for name in ["absent", "file"] {
        let told = Folder::take(&place.path().join(name), 0o600).err().unwrap().to_string();
        assert!(told.contains("it must exist"), "{told}");
    }
}

#[test]
fn a_link_of_somebody_else_is_not_followed() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let place = place();
    fs::create_dir(place.path().join("real")).unwrap();
    let link = place.path().join("link");
    symlink("real", &link).unwrap();
    drop(Folder::take(&link, 0o600).unwrap());
    std::os::unix::fs::lchown(&link, Some(65534), None).unwrap();
    let told = Folder::take(&link, 0o600).err().unwrap().to_string();
    assert!(told.contains("belongs to uid 65534"), "{told}");
}

#[test]
fn files_that_somebody_put_there_are_not_overwritten() {
    let place = place();
    fs::write(place.path().join("key.pem"), "made by hand").unwrap();
    let told = Folder::take(place.path(), 0o600).err().unwrap().to_string();
    assert!(told.contains("key.pem is there already"), "{told}");
    fs::remove_file(place.path().join("key.pem")).unwrap();
    symlink("/etc/passwd", place.path().join("svid.pem")).unwrap();
    assert!(Folder::take(place.path(), 0o600).is_err());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing was put beside it");
}

#[test]
fn one_process_at_a_time_writes() {
    let place = place();
    let folder = take(&place);
    let told = Folder::take(place.path(), 0o600).err().unwrap().to_string();
    assert!(told.contains("another `x509 fetch --write`"), "{told}");
    drop(folder);
    take(&place);
}
