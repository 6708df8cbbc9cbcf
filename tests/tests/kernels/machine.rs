//! An emulated machine: a processor, memory, a serial console, and nothing else.

use std::path::Path;
use std::process::Command;

/// How long a machine may run; what runs in it has limits of its own, which come first.
const LIMIT_SECONDS: &str = "600";

const QEMU: &str = "qemu-system-x86_64";

/// What is missing here, if anything.
pub(crate) fn is_possible() -> Result<(), String> {
    if !cfg!(target_arch = "x86_64") {
        return Err("boots kernels for x86_64, which do not run what is built here".to_owned());
    }
    match Command::new(QEMU).arg("--version").output() {
        Ok(ran) if ran.status.success() => Ok(()),
        _ => Err(format!("needs {QEMU}")),
    }
}

/// Boots `kernel` with the files of `image`, and waits until it powers off; what its console said.
/// Whatever happens here or there, `timeout` ends it.
pub(crate) fn run(kernel: &Path, image: &Path) -> String {
    let machine = ["-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "768", "-no-reboot"];
    let devices = ["-nodefaults", "-display", "none", "-serial", "stdio"];
    let ran = Command::new("timeout")
        .args(["--foreground", "--signal=KILL", LIMIT_SECONDS, QEMU])
        .args(machine)
        .args(devices)
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(image)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("timeout runs");
    let (said, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{QEMU} ended with {}: {complained}\n{said}", ran.status);
    // A serial line ends its lines as a typewriter does.
    said.replace('\r', "")
}
