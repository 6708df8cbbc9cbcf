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

    /// From now on the module is one that passes everything on, hangs in `C_Sign` while [`hang`](Self::hang)
    /// says so, and counts how often somebody logged in.
    ///
    /// # Panics
    /// There is no C compiler.
    pub fn watch(&mut self) {
        let (code, library) = (self.folder.join("watched.c"), self.folder.join("watched.so"));
        std::fs::write(&code, WATCHED).expect("our folder");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC"]).arg(format!("-DMODULE=\"{}\"", self.module.display()));
        cc.arg(format!("-DFOLDER=\"{}\"", self.folder.display())).arg("-o").arg(&library).arg(&code).arg("-ldl");
        assert!(cc.status().expect("cc runs").success());
        self.module = library;
    }

    /// Whether signatures hang. See [`watch`](Self::watch).
    ///
    /// # Panics
    /// The folder is gone.
    pub fn hang(&self, hangs: bool) {
        let file = self.folder.join("hang");
        if hangs {
            std::fs::write(file, "").expect("our folder");
        } else {
            std::fs::remove_file(file).expect("it hangs");
        }
    }

    /// How many signatures hang, or did. See [`watch`](Self::watch).
    pub fn hanging(&self) -> usize {
        std::fs::read(self.folder.join("hanging")).map_or(0, |each| each.len())
    }

    /// How often a PIN was refused. See [`watch`](Self::watch).
    pub fn refused_logins(&self) -> usize {
        std::fs::read(self.folder.join("refused")).map_or(0, |each| each.len())
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

/// The functions of a module stand behind its version, in the order of the standard (PKCS #11 Base
/// Specification, version 2.40, section 5.1): 18 is C_Login, 43 is C_Sign.
const WATCHED: &str = r#"
#include <dlfcn.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long ulong;
typedef ulong (*login_t)(ulong, ulong, void *, ulong);
typedef ulong (*sign_t)(ulong, void *, ulong, void *, ulong *);
struct list { unsigned char version[2]; void *functions[68]; };
static struct list ours, *theirs;

static void note(const char *path) {
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file >= 0) { (void)!write(file, ".", 1); close(file); }
}

static ulong login(ulong session, ulong user, void *pin, ulong length) {
    ulong said = ((login_t)theirs->functions[18])(session, user, pin, length);
    if (said == 0xa0) note(FOLDER "/refused");
    return said;
}

static ulong sign(ulong session, void *data, ulong length, void *signature, ulong *signed_length) {
    if (access(FOLDER "/hang", F_OK) == 0) note(FOLDER "/hanging");
    while (access(FOLDER "/hang", F_OK) == 0) usleep(10000);
    return ((sign_t)theirs->functions[43])(session, data, length, signature, signed_length);
}

ulong C_GetFunctionList(struct list **list) {
    void *library = dlopen(MODULE, RTLD_NOW | RTLD_LOCAL);
    ulong (*get)(struct list **) = library ? (ulong (*)(struct list **))dlsym(library, "C_GetFunctionList") : 0;
    if (!get || get(&theirs) != 0) return 5;
    memcpy(&ours, theirs, sizeof ours);
    ours.functions[18] = login;
    ours.functions[43] = sign;
    *list = &ours;
    return 0;
}
"#;
