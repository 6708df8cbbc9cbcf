//! Whatever happens to the bytes of the file: an error, or the right content; never a panic,
//! never other content in silence (row D7 of the threats).

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use countersign_common::spiffe_id::TrustDomain;
use tempfile::TempDir;

use super::{Store, StoreError, bundle_document, entry_for, ids, open};

/// Bytes of the file up to the end of the two slots that name the current state.
const HEADER_BYTES: usize = 320;

/// Where the byte is that says which of the two slots counts.
const SLOT_CHOICE: usize = 9;

const PAGE_BYTES: usize = 4096;

/// A directory for hundreds of short-lived files; in memory where the machine has such a place.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn partner() -> TrustDomain {
    TrustDomain::parse("partner.example").unwrap()
}

/// Which bundle of the partner is published, and its document.
async fn bundle(store: &Store) -> (u64, String) {
    let sequence = store.foreign_bundles().borrow()[&partner()].sequence;
    (sequence, store.bundle_document(partner()).await.unwrap())
}

/// The same content as two files: as a kill leaves it, and as closing leaves it.
fn images(directory: &Path) -> [Vec<u8>; 2] {
    let path = directory.join("store.redb");
    let store = open(&path).unwrap();
    runtime().block_on(async {
        for (sequence, (id, state)) in (1..).zip([("a", b"old"), ("b", b"new")]) {
            store.apply(vec![entry_for(id, 1)], false, false).await.unwrap();
            store.save_authority_state(state.to_vec()).await.unwrap();
            let document = bundle_document(sequence, id);
            store.set_bundle(partner(), document, false, false).await.unwrap();
        }
    });
    let killed = fs::read(&path).unwrap();
    runtime().block_on(store.close());
    [killed, fs::read(&path).unwrap()]
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// Opens the bytes as a database and holds that it is refused by name or right. Says whether it is right.
fn judge(path: &Path, bytes: &[u8], what: &str) -> bool {
    write(path, bytes);
    let store = match open(path) {
        Ok(store) => store,
        Err(refused) => {
            assert!(refused.to_string().contains(path.to_str().unwrap()), "{what}: {refused}");
            return false;
        }
    };
    let runtime = runtime();
    let state = runtime.block_on(store.authority_state()).unwrap();
    assert_eq!((ids(&store), state), (vec!["a".to_owned(), "b".to_owned()], Some(b"new".to_vec())), "{what}");
    assert_eq!(runtime.block_on(bundle(&store)), (2, bundle_document(2, "b")), "{what}");
    runtime.block_on(store.close());
    true
}

#[test]
fn d7_a_flipped_bit_is_noticed_or_harmless() {
    let directory = directory();
    let path = directory.path().join("copy.redb");
    for (number, image) in images(directory.path()).into_iter().enumerate() {
        let live = |at: usize| {
            let page = at - at % PAGE_BYTES;
            image[page..image.len().min(page + PAGE_BYTES)].iter().any(|byte| *byte != 0)
        };
        let header = (0..HEADER_BYTES).map(|at| (at, 1 << (at % 8)));
        let choice = (0..8).map(|bit| (SLOT_CHOICE, 1 << bit));
        let pages = (HEADER_BYTES..image.len()).step_by(97).filter(|at| live(*at)).map(|at| (at, 1 << (at % 8)));
        let mut right = 0;
        for (at, mask) in header.chain(choice).chain(pages) {
            let mut bytes = image.clone();
            bytes[at] ^= mask;
            right += usize::from(judge(&path, &bytes, &format!("image {number}, byte {at} ^ {mask}")));
        }
        // Most pages are free: a store that refuses every change of a byte has checked nothing.
        assert!(right > 0);
    }
}

#[test]
fn d7_a_page_of_zeros_is_noticed_or_harmless() {
    let directory = directory();
    let path = directory.path().join("copy.redb");
    for (number, image) in images(directory.path()).into_iter().enumerate() {
        for page in (0..image.len()).step_by(PAGE_BYTES) {
            let mut bytes = image.clone();
            bytes[page..(page + PAGE_BYTES).min(image.len())].fill(0);
            judge(&path, &bytes, &format!("image {number}, page at {page}"));
        }
    }
}

#[test]
fn d7_a_truncated_file_is_noticed_or_harmless() {
    let directory = directory();
    let path = directory.path().join("copy.redb");
    for (number, image) in images(directory.path()).into_iter().enumerate() {
        let short = [0, 1, 8, 9, 63, 64, 319, 320, 511, 512, PAGE_BYTES - 1, PAGE_BYTES];
        for length in short.into_iter().chain((0..image.len()).step_by(4093)) {
            let right = judge(&path, &image[..length], &format!("image {number}, cut to {length}"));
            assert!(!right || length > PAGE_BYTES);
        }
    }
}

#[test]
fn d7_a_lost_file_does_not_begin_anew_in_silence() {
    let directory = directory();
    let path = directory.path().join("store.redb");
    write(&path, b"");
    let said = open(&path).unwrap_err();
    assert!(matches!(said, StoreError::Damaged { .. }));
    assert_eq!(
        said.to_string().replace(directory.path().to_str().unwrap(), "DIR"),
        "the database DIR/store.redb is damaged: the file is cut short; restore it from a backup, or move it away to \
         begin with no entries and new keys (tokens signed by the lost keys stop being accepted)"
    );
    assert_eq!(fs::read(&path).unwrap(), b"");
}
