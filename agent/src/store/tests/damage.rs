//! Whatever happens to the bytes of the file: an error, or the right content.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::{Store, StoreError, entry_for, ids, open};

#[test]
fn explore() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = directory.path().join("store.redb");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = open(&path).unwrap();
    runtime.block_on(async {
        store.apply(vec![entry_for("a", 1)], false, false).await.unwrap();
        store.save_authority_state(b"old".to_vec()).await.unwrap();
        store.apply(vec![entry_for("b", 1)], false, false).await.unwrap();
        store.save_authority_state(b"new".to_vec()).await.unwrap();
    });
    let unclean = fs::read(&path).unwrap();
    runtime.block_on(store.close());
    let clean = fs::read(&path).unwrap();
    for (name, bytes) in [("unclean", &unclean), ("clean", &clean)] {
        let live: Vec<usize> = (0..bytes.len())
            .filter(|&i| i < 512 || bytes[i & !4095..(i & !4095) + 4096].iter().any(|b| *b != 0))
            .collect();
        println!("{name}: {} bytes, {} live", bytes.len(), live.len());
        let (mut same, mut wrong, mut errors, mut panics) =
            (0, vec![], std::collections::BTreeMap::<String, usize>::new(), vec![]);
        for &at in live.iter().filter(|&&i| i < 512 || i % 97 == 0) {
            for bit in if at < 512 { vec![1u8, 2, 4, 8, 16, 32, 64, 128] } else { vec![1] } {
                let mut changed = bytes.to_vec();
                changed[at] ^= bit;
                let copy = directory.path().join("copy.redb");
                fs::write(&copy, &changed).unwrap();
                fs::set_permissions(&copy, Permissions::from_mode(0o600)).unwrap();
                match catch_unwind(AssertUnwindSafe(|| open(&copy))) {
                    Err(_) => panics.push((at, bit)),
                    Ok(Err(e)) => {
                        *errors
                            .entry(
                                e.to_string()
                                    .replace(directory.path().to_str().unwrap(), "DIR")
                                    .chars()
                                    .take(140)
                                    .collect(),
                            )
                            .or_default() += 1
                    }
                    Ok(Ok(store)) => {
                        let state = runtime.block_on(store.authority_state()).unwrap();
                        if ids(&store) == ["a", "b"] && state.as_deref() == Some(b"new") {
                            same += 1
                        } else {
                            wrong.push((at, bit, ids(&store), state.map(|s| String::from_utf8_lossy(&s).into_owned())))
                        }
                        runtime.block_on(store.close());
                    }
                }
            }
        }
        println!("same {same} wrong {wrong:?}errors {}\npanics {panics:?}", errors.len());
    }
}
