//! An image that no registry has: a `docker-archive`, which docker, podman and containerd load.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

/// What was written, and what it is called.
pub(crate) struct Image {
    pub(crate) archive: PathBuf,
    /// `sha256:` and the digest of its configuration.
    pub(crate) config_digest: String,
}

/// Writes an image with this tag and this label `from` below `folder`. Its one file makes it
/// another image than others; programs and libraries are mounted from the machine.
pub(crate) fn write(folder: &Path, tag: &str, from: &str) -> Image {
    let work = folder.join(from);
    std::fs::create_dir_all(work.join("root")).expect("our folder");
    std::fs::write(work.join("root/from"), from).expect("our folder");
    run(Command::new("tar").arg("-C").arg(work.join("root")).arg("-cf").arg(work.join("layer.tar")).arg("from"));
    let layer = sha256(&work.join("layer.tar"));
    let config = json!({
        "architecture": architecture(), "os": "linux",
        "config": {"Env": ["PATH=/"], "Labels": {"from": from}},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
    });
    std::fs::write(work.join("config.json"), config.to_string()).expect("our folder");
    let manifest = json!([{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]);
    std::fs::write(work.join("manifest.json"), manifest.to_string()).expect("our folder");
    let archive = folder.join(format!("{from}.tar"));
    let files = ["config.json", "layer.tar", "manifest.json"];
    run(Command::new("tar").arg("-C").arg(&work).arg("-cf").arg(&archive).args(files));
    Image { archive, config_digest: format!("sha256:{}", sha256(&work.join("config.json"))) }
}

/// This machine's, as Go calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn sha256(file: &Path) -> String {
    run(Command::new("sha256sum").arg(file)).split(' ').next().expect("a digest").to_owned()
}

fn run(command: &mut Command) -> String {
    let ran = command.output().expect("it runs");
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).expect("UTF-8")
}
