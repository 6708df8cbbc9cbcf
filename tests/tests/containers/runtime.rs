//! The runtimes: how each is started, and how the suites' workload runs in a container of it.

use std::path::{Path, PathBuf};

use countersign_tests::{Agent, Workload, WorkloadSpec, root_or_skip, skip, until, workload_program};
use serde_json::{Value, json};

use crate::image::{self, Image};
use crate::room::{Cgroups, Room};

/// The tag that containers are started from.
pub(crate) const TAG: &str = "localhost/orders:1";

/// The folder of the agent's socket, in a container.
const IN_CONTAINER: &str = "SPIFFE_ENDPOINT_SOCKET=unix:///agent/agent.sock";

/// A runtime of containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Docker,
    Containerd,
    Podman,
    Runc,
}

impl Runtime {
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Docker => &["dockerd", "docker"],
            Self::Containerd => &["containerd", "ctr"],
            Self::Podman => &["podman", "conmon", "runc"],
            Self::Runc => &["runc"],
        }
    }

    /// Whether it can run here.
    pub(crate) fn here_or_skip(self) -> bool {
        if !root_or_skip("containers") {
            return false;
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_there = |program: &&&str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
        let missing = self.programs().iter().find(|program| !is_there(program));
        if let Some(missing) = missing {
            skip(&format!("needs {missing}"));
        }
        missing.is_none()
    }
}

/// A container runtime at work, with one image loaded.
pub(crate) struct Bed {
    pub(crate) runtime: Runtime,
    pub(crate) room: Room,
    pub(crate) image: Image,
}

/// A workload in a container.
pub(crate) struct Contained {
    pub(crate) workload: Workload,
    pub(crate) id: String,
}

impl Bed {
    pub(crate) async fn new(runtime: Runtime, cgroups: Cgroups) -> Self {
        let room = Room::new(cgroups).await;
        let image = image::write(room.folder(), TAG, "one");
        let mut bed = Self { runtime, room, image };
        match runtime {
            Runtime::Docker => bed.start_docker("docker").await,
            Runtime::Containerd => bed.start_containerd().await,
            Runtime::Podman | Runtime::Runc => {}
        }
        bed.load(&bed.image.archive);
        bed
    }

    pub(crate) fn docker_socket(&self) -> PathBuf {
        self.room.folder().join("docker.sock")
    }

    /// Runs a command of the runtime's own client.
    pub(crate) fn client(&self, words: &[&str]) -> String {
        let client = self.client_words();
        let all: Vec<_> = client.iter().map(String::as_str).chain(words.iter().copied()).collect();
        self.room.run(&all)
    }

    pub(crate) fn load(&self, archive: &Path) {
        let archive = archive.to_str().expect("UTF-8");
        match self.runtime {
            Runtime::Docker | Runtime::Podman => drop(self.client(&["load", "--input", archive])),
            Runtime::Containerd => drop(self.client(&["image", "import", archive])),
            Runtime::Runc => {}
        }
    }

    /// Takes the name of its socket from the daemon. Who is connected, stays connected.
    pub(crate) fn hide_docker(&self) {
        let socket = self.docker_socket();
        std::fs::rename(&socket, socket.with_extension("hidden")).expect("our folder");
    }

    /// Puts another daemon in the place of the first one, whose containers it does not know.
    pub(crate) async fn replace_docker(&mut self) {
        self.hide_docker();
        self.start_docker("another").await;
    }

    async fn start_docker(&mut self, name: &str) {
        let (data, run) = (self.file(name), format!("/run/{name}"));
        let (host, pidfile) = (format!("unix://{}", self.docker_socket().display()), self.file(&format!("{name}.pid")));
        let words = ["dockerd", "--data-root", &data, "--exec-root", &run, "--pidfile", &pidfile];
        let network = ["--host", &host, "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"];
        self.room.start(name, &[&words[..], &network].concat());
        let socket = self.docker_socket();
        until("dockerd to listen", || std::os::unix::net::UnixStream::connect(&socket).ok()).await;
    }

    async fn start_containerd(&mut self) {
        let (root, config) = (self.file("containerd"), self.file("containerd.toml"));
        let text = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        std::fs::write(&config, text).expect("our folder");
        let words = ["containerd", "--config", &config, "--root", &root, "--state", "/run/containerd"];
        self.room.start("containerd", &words);
        let mut asked = self.room.command(&["ctr", "version"]);
        until("containerd to serve", || asked.output().expect("it runs").status.success().then_some(())).await;
    }

    fn client_words(&self) -> Vec<String> {
        let words: &[&str] = match self.runtime {
            Runtime::Docker => &["docker", "--config", "/run/docker-client", "--host"],
            Runtime::Containerd => &["ctr"],
            Runtime::Podman => &[
                "podman",
                "--storage-driver=vfs",
                "--cgroup-manager=cgroupfs",
                "--events-backend=file",
                "--runtime=runc",
                "--runroot=/run/podman",
                "--tmpdir=/run/podman/tmp",
                "--root",
            ],
            Runtime::Runc => &["runc", "--root", "/run/runc"],
        };
        let last = match self.runtime {
            Runtime::Docker => Some(format!("unix://{}", self.docker_socket().display())),
            Runtime::Podman => Some(self.file("podman")),
            Runtime::Containerd | Runtime::Runc => None,
        };
        words.iter().map(|&word| word.to_owned()).chain(last).collect()
    }

    /// Starts a workload of `agent` in a container called `name`. `options` are the runtime's own; for
    /// runc the one option is the path of the cgroup.
    pub(crate) async fn start(&self, agent: &Agent, name: &str, options: &[&str]) -> Contained {
        let socket = agent.workload_socket();
        let mut mounts = libraries();
        mounts.push((real(&workload_program()), "/workload"));
        mounts.push((real(socket.parent().expect("a folder")), "/agent"));
        let (mut under, last) = match self.runtime {
            Runtime::Docker | Runtime::Podman => {
                let options = [&["--env", IN_CONTAINER][..], options].concat();
                (self.engine_words(name, &mounts, &options), "/workload".to_owned())
            }
            Runtime::Containerd => (containerd_words(name, &mounts, options), "/workload".to_owned()),
            // The bundle names the program.
            Runtime::Runc => {
                let bundle = self.bundle(name, &mounts, options[0]);
                (words(&["run", "--bundle", &bundle]).collect(), id_of(name))
            }
        };
        under.splice(..0, self.room.inside().into_iter().chain(self.client_words()));
        let spec = WorkloadSpec { under, program: Some(last.into()), ..WorkloadSpec::default() };
        let mut workload = Workload::start(&socket, &spec);
        // Nothing changes by it: the answer says that the container runs.
        assert_eq!(workload.ask("setuid 0").await.code(), "Ok");
        let id = match self.runtime {
            // They choose the id themselves and write it there.
            Runtime::Docker | Runtime::Podman => std::fs::read_to_string(self.id_file(name)).expect("written"),
            Runtime::Containerd | Runtime::Runc => id_of(name),
        };
        Contained { workload, id }
    }

    /// The words that run what follows them in a container of docker's called `name`.
    pub(crate) fn run_under(&self, name: &str, options: &[&str]) -> Vec<String> {
        let engine = self.engine_words(name, &libraries(), options);
        self.room.inside().into_iter().chain(self.client_words()).chain(engine).collect()
    }

    fn engine_words(&self, name: &str, mounts: &[Mount], options: &[&str]) -> Vec<String> {
        let fixed = ["run", "--interactive", "--network=none", "--pids-limit=-1"];
        // Those that podman would set may be above what this user may.
        let limits = ["--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096"];
        let id_file = self.id_file(name);
        let mounts = mounts.iter().map(|(from, to)| format!("--volume={from}:{to}:ro"));
        let own = words(&["--name", name, "--cidfile", &id_file]).chain(words(options)).collect::<Vec<_>>();
        words(&fixed).chain(words(&limits)).chain(mounts).chain(own).chain([TAG.to_owned()]).collect()
    }

    fn id_file(&self, name: &str) -> String {
        self.file(&format!("{name}.id"))
    }

    /// A bundle as runc wants it: its own example, with our program, mounts and cgroup.
    fn bundle(&self, name: &str, mounts: &[Mount], cgroup: &str) -> String {
        let bundle = self.file(name);
        std::fs::create_dir_all(Path::new(&bundle).join("rootfs")).expect("our folder");
        self.room.run(&["runc", "spec", "--bundle", &bundle]);
        let file = Path::new(&bundle).join("config.json");
        let mut spec: Value = serde_json::from_slice(&std::fs::read(&file).expect("written")).expect("JSON");
        spec["process"]["terminal"] = json!(false);
        spec["process"]["args"] = json!(["/workload"]);
        spec["process"]["env"] = json!([IN_CONTAINER]);
        spec["linux"]["cgroupsPath"] = json!(cgroup);
        let ours =
            mounts.iter().map(|(from, to)| json!({"source": from, "destination": to, "options": ["rbind", "ro"]}));
        spec["mounts"].as_array_mut().expect("mounts").extend(ours);
        std::fs::write(&file, spec.to_string()).expect("our folder");
        bundle
    }

    fn file(&self, name: &str) -> String {
        self.room.folder().join(name).to_str().expect("UTF-8").to_owned()
    }
}

/// An id as programs make them, of a name.
pub(crate) fn id_of(name: &str) -> String {
    let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits:0>64}")
}

/// A place of the machine, and where a container has it.
type Mount = (String, &'static str);

/// What programs are linked with, from where they look for it.
fn libraries() -> Vec<Mount> {
    let there = ["/lib", "/lib64", "/usr/lib"].into_iter().filter(|path| Path::new(path).exists());
    there.map(|path| (real(Path::new(path)), path)).collect()
}

fn real(path: &Path) -> String {
    path.canonicalize().expect("it is there").to_str().expect("UTF-8").to_owned()
}

fn containerd_words(name: &str, mounts: &[Mount], options: &[&str]) -> Vec<String> {
    // Its default share needs a controller that a machine with both versions may keep in the first.
    let fixed = ["run", "--rm", "--cpu-shares=0", "--env", IN_CONTAINER];
    let each = |(from, to): &Mount| format!("--mount=type=bind,src={from},dst={to},options=rbind:ro");
    let last = [TAG.to_owned(), id_of(name)];
    words(&fixed).chain(mounts.iter().map(each)).chain(words(options)).chain(last).collect()
}

fn words<'a>(words: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    words.iter().map(|&word| word.to_owned())
}
