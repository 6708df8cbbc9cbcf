//! A PKCS#11 token in software, of a test's own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::privilege::skip;

/// Where Debian and others put the module.
const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
];

/// The PIN of the token's user.
pub const PIN: &str = "7301";

/// One token with the label `countersign`, and what it takes to use it.
#[derive(Debug)]
pub struct SoftHsm {
    module: PathBuf,
    folder: PathBuf,
}

impl SoftHsm {
    /// Makes a token in `folder`; `None`, and says so, where SoftHSM or the tool that looks into
    /// tokens is not installed.
    ///
    /// # Panics
    /// They are installed and fail.
    pub fn make_or_skip(folder: &Path) -> Option<Self> {
        let tool = Command::new("pkcs11-tool").arg("--help").output().is_ok();
        let Some(module) = MODULES.iter().map(PathBuf::from).find(|path| path.exists() && tool) else {
            skip("needs SoftHSM and pkcs11-tool (Debian: softhsm2, opensc)");
            return None;
        };
        let hsm = Self { module, folder: folder.to_owned() };
        std::fs::create_dir(hsm.tokens()).expect("our folder");
        let tokens = hsm.tokens();
        let config =
            format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", tokens.display());
        std::fs::write(hsm.config(), config).expect("our folder");
        hsm.set_pin_file(PIN);
        hsm.add_token("countersign");
        Some(hsm)
    }

    /// Adds a token with this label.
    ///
    /// # Panics
    /// SoftHSM fails.
    pub fn add_token(&self, label: &str) {
        let mut command = Command::new("softhsm2-util");
        command.args(["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "98765432"]);
        let made = command.env("SOFTHSM2_CONF", self.config()).output().expect("softhsm2-util runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// What the file says that the agent reads the PIN from.
    ///
    /// # Panics
    /// The folder is gone.
    pub fn set_pin_file(&self, pin: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.pin_file();
        std::fs::write(&path, format!("{pin}\n")).expect("our folder");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("our file");
    }

    /// `authority.pkcs11` for the token with this label.
    pub fn table(&self, label: &str) -> String {
        let (module, pin) = (self.module.display(), self.pin_file());
        format!("{{ module = \"{module}\", token = \"{label}\", pin.file = \"{}\" }}", pin.display())
    }

    /// The module.
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// What to put before the command of an agent that is to find these tokens.
    pub fn under(&self) -> Vec<String> {
        vec!["env".to_owned(), format!("SOFTHSM2_CONF={}", self.config().display())]
    }

    /// Runs `pkcs11-tool` as the user of the token `countersign`.
    ///
    /// # Panics
    /// It does not run.
    pub fn tool(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("pkcs11-tool");
        command.arg("--module").arg(&self.module).args(["--token-label", "countersign", "--login", "--pin", PIN]);
        command.args(arguments).env("SOFTHSM2_CONF", self.config()).output().expect("pkcs11-tool runs")
    }

    /// The ids of the private keys in the token `countersign`.
    ///
    /// # Panics
    /// They cannot be listed.
    pub fn private_keys(&self) -> Vec<String> {
        let listed = self.tool(&["--list-objects", "--type", "privkey"]);
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let text = String::from_utf8(listed.stdout).expect("UTF-8");
        text.lines().filter_map(|line| line.trim().strip_prefix("ID:").map(|id| id.trim().to_owned())).collect()
    }

    /// Takes all tokens out, as if a device were unplugged.
    ///
    /// # Panics
    /// They are out.
    pub fn take_out(&self) {
        std::fs::rename(self.tokens(), self.folder.join("taken-out")).expect("our folder");
    }

    /// Puts them in again.
    ///
    /// # Panics
    /// They are in.
    pub fn put_back(&self) {
        std::fs::rename(self.folder.join("taken-out"), self.tokens()).expect("our folder");
    }

    fn tokens(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    fn config(&self) -> PathBuf {
        self.folder.join("softhsm2.conf")
    }

    fn pin_file(&self) -> PathBuf {
        self.folder.join("pin")
    }
}
