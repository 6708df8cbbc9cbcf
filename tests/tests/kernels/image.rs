//! The files of the machine, as the archive that a kernel unpacks into its memory at boot: the
//! programs under test, the suites, the few tools that they call, and the libraries of all these.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use countersign_tests::{countersign, suite_program, weakened_countersign, workload_program};
use tempfile::TempDir;

use crate::PLAN;

/// What the suites and `tests/kernels/init` call beside the programs under test.
const TOOLS: [&str; 9] = ["cat", "chmod", "env", "mount", "setpriv", "sh", "sleep", "uname", "unshare"];

/// The places that something is mounted on.
const DIRECTORIES: [&str; 6] = ["proc", "sys", "dev", "tmp", "bin", "suites"];

/// The archive, made once a run.
pub(crate) fn made() -> &'static Path {
    static MADE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, archive) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = folder.path().join("image.cpio");
        fs::write(&archive, archive_of(&files(folder.path()))).expect("our folder");
        (folder, archive)
    });
    archive
}

/// What is to be where: path in the machine, without the first slash, and the file here.
fn files(folder: &Path) -> BTreeSet<(PathBuf, PathBuf)> {
    let programs = [
        ("countersign", countersign()),
        ("countersign-weakened", weakened_countersign()),
        ("workload", workload_program()),
    ];
    let suites = PLAN.map(|(suite, _)| (suite, suite_program(suite)));
    let mut files = BTreeSet::new();
    for (name, program) in programs.into_iter().chain(suites) {
        libraries(&program, &mut files);
        let bare = folder.join(name);
        // Most of such a program is for a debugger, and would take a while to load.
        let stripped = Command::new("strip").arg("-o").arg(&bare).arg(&program).status().expect("strip runs");
        assert!(stripped.success(), "cannot strip {}", program.display());
        files.insert((Path::new("suites").join(name), bare));
    }
    for tool in TOOLS {
        let path = ["/usr/bin", "/bin"].map(|directory| Path::new(directory).join(tool));
        let path = path.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("there is no {tool}"));
        libraries(&path, &mut files);
        files.insert((Path::new("bin").join(tool), path));
    }
    files.insert(("init".into(), Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/init")));
    let plan = folder.join("plan");
    fs::write(&plan, PLAN.map(|(suite, tests)| format!("{suite} {}\n", tests.join(" "))).concat()).expect("our folder");
    files.insert(("suites/plan".into(), plan));
    files
}

/// What `program` is linked with, its loader included, each where it is here (ldd(1)).
fn libraries(program: &Path, files: &mut BTreeSet<(PathBuf, PathBuf)>) {
    let said = Command::new("ldd").arg(program).output().expect("ldd runs").stdout;
    for path in String::from_utf8_lossy(&said).split_whitespace().filter(|word| word.starts_with('/')) {
        files.insert((Path::new(path).strip_prefix("/").expect("it begins so").to_owned(), path.into()));
    }
}

/// An archive as the kernel unpacks it (its documentation, driver-api/early-userspace/buffer-format).
fn archive_of(files: &BTreeSet<(PathBuf, PathBuf)>) -> Vec<u8> {
    let mut directories: BTreeSet<&Path> = DIRECTORIES.map(Path::new).into();
    directories.extend(files.iter().flat_map(|(path, _)| path.ancestors().skip(1)));
    directories.remove(Path::new(""));
    let mut archive = vec![];
    // In their order, so that each comes after the one that it is in.
    for directory in directories {
        add(&mut archive, directory, 0o040_755, &[]);
    }
    for (path, file) in files {
        let content = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mode = fs::metadata(file).expect("it was read").permissions().mode();
        add(&mut archive, path, 0o100_000 | mode & 0o755, &content);
    }
    add(&mut archive, Path::new("TRAILER!!!"), 0, &[]);
    archive
}

/// One header, name and content, each padded to four bytes. Root's, with one link.
fn add(archive: &mut Vec<u8>, path: &Path, mode: u32, content: &[u8]) {
    let name = path.to_str().expect("UTF-8");
    let (inode, links, length) = (archive.len(), 1, content.len());
    let header = [inode, mode as usize, 0, 0, links, 0, length, 0, 0, 0, 0, name.len() + 1, 0];
    archive.extend(b"070701");
    archive.extend(header.map(|number| format!("{number:08x}")).concat().as_bytes());
    archive.extend(name.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}
