//! `countersign dev`, wired: everything in memory but the entries file and the sockets.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use countersign_common::entry::Entry;
use countersign_common::spiffe_id::TrustDomain;
use countersign_common::svid::jwt::Algorithm;
use nix::unistd::geteuid;

use super::AppError;
use super::entries_file::EntriesFile;
use super::wiring::{self, Settings};
use crate::admin_api::Access;
use crate::attest;
use crate::audit::Audit;
use crate::authority::embedded;
use crate::policy;
use crate::store::Store;

/// What `countersign dev` was asked for.
#[derive(Debug)]
pub struct DevOptions {
    /// The entries file; an example is made if `None`.
    pub entries: Option<PathBuf>,
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// Folder for sockets and example.
    pub dir: Option<PathBuf>,
}

/// What a newcomer needs to know once it runs.
#[derive(Debug)]
pub struct DevReady {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// Where the entries are.
    pub entries_file: PathBuf,
    /// The entries that were loaded.
    pub entries: Vec<Arc<Entry>>,
    /// For `SPIFFE_ENDPOINT_SOCKET`.
    pub workload_socket: PathBuf,
    /// For operators' commands.
    pub admin_socket: PathBuf,
    /// A command that will succeed, if the example entry was made.
    pub example: Option<Example>,
}

/// The process that the example entry describes.
#[derive(Debug)]
pub struct Example {
    /// The program: this very binary.
    pub program: PathBuf,
    /// An audience that the entry allows.
    pub audience: &'static str,
}

const EXAMPLE_AUDIENCE: &str = "hello";

/// Runs until it is told to stop. `ready` is called once, when requests are served.
///
/// # Errors
/// Why it cannot run.
pub async fn run_dev(options: DevOptions, ready: impl FnOnce(&DevReady)) -> Result<(), AppError> {
    let dir = own_folder(options.dir)?;
    let program = std::env::current_exe().map_err(AppError::system("cannot tell the path of this program"))?;
    let (entries_path, example) = match options.entries {
        Some(path) => (path, None),
        None => (
            example_file(&dir, &options.trust_domain, &program)?,
            Some(Example { program, audience: EXAMPLE_AUDIENCE }),
        ),
    };
    let store = Store::in_memory(&options.trust_domain)?;
    let file = EntriesFile { path: entries_path.clone(), trust_domain: options.trust_domain.clone() };
    file.apply(&store).await?;
    let told = DevReady {
        trust_domain: options.trust_domain.clone(),
        entries_file: entries_path.clone(),
        entries: store.entries().borrow().entries.clone(),
        workload_socket: dir.join("workload/agent.sock"),
        admin_socket: dir.join("admin/admin.sock"),
        example,
    };
    let settings = settings(&options.trust_domain, store.clone(), &told);
    let following = tokio::spawn(file.follow(store));
    let ran = Box::pin(wiring::run(settings, || ready(&told))).await;
    following.abort();
    ran
}

fn settings(trust_domain: &TrustDomain, store: Store, ready: &DevReady) -> Settings {
    let max_jwt_ttl = Duration::from_secs(3600);
    Settings {
        store,
        sealing_key: None,
        authority: embedded::Options {
            trust_domain: trust_domain.clone(),
            algorithm: Algorithm::Es256,
            key_life: Duration::from_secs(24 * 3600),
            max_jwt_ttl,
            refresh_hint: Duration::from_secs(300),
            issuer: None,
        },
        limits: policy::Limits { default_jwt_ttl: Duration::from_secs(300), max_jwt_ttl },
        attest: attest::Limits { max_executable_bytes: 1 << 30, parallel_hashes: 2 },
        audit: Audit::to_stderr(),
        workload_socket: ready.workload_socket.clone(),
        max_connections: 256,
        // Whoever tries things out wants the refusal at once; entries come by saving the file.
        hold: Duration::ZERO,
        admin_socket: ready.admin_socket.clone(),
        admin_access: Access { uids: vec![], gids: vec![], read_only: Some(ready.entries_file.display().to_string()) },
        drain_limit: Duration::from_secs(2),
    }
}

/// The folder of this user: made with its final mode, or found to be ours. In a world-writable
/// `/tmp` another user could have made it first, and would then own our sockets.
fn own_folder(asked: Option<PathBuf>) -> Result<PathBuf, AppError> {
    let uid = geteuid().as_raw();
    let dir = asked.unwrap_or_else(|| match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) if !runtime.is_empty() => PathBuf::from(runtime).join("countersign-dev"),
        _ => std::env::temp_dir().join(format!("countersign-dev-{uid}")),
    });
    // Others may pass through: the example entry may be changed to describe another user's process.
    let made = std::fs::DirBuilder::new().mode(0o755).create(&dir);
    if let Err(error) = made
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(AppError::System { doing: format!("cannot make the folder {}", dir.display()), source: error });
    }
    let found =
        std::fs::symlink_metadata(&dir).map_err(AppError::system(format!("cannot look at {}", dir.display())))?;
    if !found.is_dir() || found.uid() != uid || found.mode() & 0o022 != 0 {
        return Err(AppError::Entries(format!(
            "{} is not a folder that only you can write; remove it, or name another one with --dir",
            dir.display()
        )));
    }
    // Paths are printed for other terminals, which have another working directory.
    dir.canonicalize().map_err(AppError::system(format!("cannot resolve {}", dir.display())))
}

/// Writes the example: this very binary, run by this very user. Written anew at each start,
/// since the path of the binary is part of it; an edited one is kept.
fn example_file(dir: &Path, trust_domain: &TrustDomain, program: &Path) -> Result<PathBuf, AppError> {
    let path = dir.join("entries.yaml");
    let text = example_text(trust_domain, program);
    let edited = std::fs::read_to_string(&path).is_ok_and(|found| !found.starts_with(EXAMPLE_HEADER));
    if !edited {
        std::fs::write(&path, text).map_err(AppError::system(format!("cannot write {}", path.display())))?;
    }
    Ok(path)
}

const EXAMPLE_HEADER: &str = "# Written by `countersign dev`; remove this line to keep your changes.\n";

fn example_text(trust_domain: &TrustDomain, program: &Path) -> String {
    format!(
        "{EXAMPLE_HEADER}\
         id: example\n\
         spiffe_id: spiffe://{trust_domain}/example\n\
         selectors:                     # all must hold\n\
         \x20 - unix:uid:{uid}\n\
         \x20 - {path}\n\
         jwt:\n\
         \x20 audiences: [{EXAMPLE_AUDIENCE}]\n\
         \x20 ttl: 5m\n",
        uid = geteuid().as_raw(),
        // A JSON string is a YAML string: whatever the path holds is quoted.
        path = serde_json::Value::from(format!("unix:path:{}", program.display())),
    )
}

#[cfg(test)]
mod tests {
    use countersign_common::entry::parse_entries;

    use super::*;

    #[test]
    fn the_example_is_a_valid_entry_whatever_the_path_of_the_binary() {
        let domain = TrustDomain::parse("dev.example").unwrap();
        for program in ["/usr/bin/countersign", "/tmp/a b/\"c\": #d"] {
            let text = example_text(&domain, Path::new(program));
            let entries = parse_entries("example", &text, Some(&domain)).unwrap();
            assert!(entries[0].selectors.iter().any(|selector| selector.value() == program), "{text}");
        }
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("dev");
        assert!(own_folder(Some(dir.clone())).is_ok());
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(own_folder(Some(dir.clone())).is_err());
        let link = outer.path().join("link");
        std::os::unix::fs::symlink(outer.path(), &link).unwrap();
        assert!(own_folder(Some(link)).is_err());
    }
}
