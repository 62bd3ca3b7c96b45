//! What the tests with real processes share.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    reason = "a failed test may panic; each test binary uses its part"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use mezzo_containerizer::{Config, ContainerSpec, Containerizer, MezzoContainerizer, Termination};
use mezzo_linux::launch::Namespaces;
use mezzo_linux::process::ProcessId;
use mezzo_model::ContainerId;
use mezzo_module_api::v1::ContainerConfig;
use mezzo_proto::v1::{CommandInfo, Environment};

/// Longer than anything here takes, even on a machine that is busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The launcher, which a test of this package alone would not build.
pub(crate) fn launcher() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--offline", "-p", "mezzo-linux", "--bin", "mezzo-launcher"])
            .status()
            .unwrap();
        assert!(built.success(), "cannot build mezzo-launcher");
        mezzo_linux::launch::find_launcher().unwrap()
    };
    BUILT.get_or_init(build).clone()
}

/// A directory for everything a containerizer writes.
pub(crate) struct Scene {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) namespaces: Namespaces,
}

impl Scene {
    pub(crate) fn new(namespaces: Namespaces) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A task that runs as somebody else has to get to its sandbox.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.path(), open).unwrap();
        Self { dir, namespaces }
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new(self.dir.path().join("run"), launcher());
        config.namespaces = self.namespaces;
        config
    }

    pub(crate) fn containerizer(&self) -> MezzoContainerizer {
        MezzoContainerizer::new(self.config())
    }

    pub(crate) fn spec(&self, id: &str, script: &str) -> ContainerSpec {
        ContainerSpec {
            container_id: ContainerId::new(id),
            config: ContainerConfig {
                command_info: CommandInfo {
                    value: Some(script.to_owned()),
                    ..CommandInfo::default()
                },
                directory: self.dir.path().join(id).display().to_string(),
                ..ContainerConfig::default()
            },
            environment: Environment::default(),
            framework: None,
            forked_pid: None,
        }
    }

    pub(crate) fn text(&self, id: &str, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(id).join(name)).unwrap_or_default()
    }

    /// The first line of a file of a sandbox, once it is whole.
    pub(crate) async fn line(&self, id: &str, name: &str) -> String {
        let find = async {
            loop {
                if let Some((line, _)) = self.text(id, name).split_once('\n') {
                    return line.to_owned();
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, find).await.expect("the task does not write its file")
    }

    /// Whether anything is written down of the container.
    pub(crate) fn is_recorded(&self, id: &str) -> bool {
        self.dir.path().join("run/containers").join(id).exists()
    }
}

/// Launches and waits for the end.
pub(crate) async fn run(containerizer: &MezzoContainerizer, spec: ContainerSpec) -> Termination {
    let id = spec.container_id.clone();
    containerizer.launch(spec).await.unwrap();
    end(containerizer, &id).await
}

pub(crate) async fn end(containerizer: &MezzoContainerizer, id: &ContainerId) -> Termination {
    let wait = containerizer.wait(id);
    tokio::time::timeout(PATIENCE, wait).await.expect("the container does not end").unwrap()
}

/// The process of this pid, which must be there.
pub(crate) fn process(pid: &str) -> ProcessId {
    ProcessId::of(pid.parse().unwrap()).unwrap().unwrap()
}

/// Waits until a process has ended.
pub(crate) async fn gone(id: ProcessId) {
    let find = async {
        while id.is_alive().unwrap() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, find).await.expect("the process does not end");
}
