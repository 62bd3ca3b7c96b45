//! What the process tests share: running a spec in a temporary directory, and waiting for a condition.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    reason = "a failed test may panic; each test binary uses its part"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mezzo_linux::cgroup::{self, Cgroup};
use mezzo_linux::launch::{self, LaunchSpec, Namespaces, SpawnedLauncher};
use mezzo_linux::process::{ProcessHandle, WaitStatus};
use mezzo_linux::user;

/// Longer than anything here takes, even on a machine that is busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with the output and the records of one launch.
pub(crate) struct Scene {
    pub(crate) dir: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// `sh -c SCRIPT` with a PATH and the record files.
    pub(crate) fn shell(&self, script: &str) -> LaunchSpec {
        let mut spec = LaunchSpec::shell(script);
        spec.env.push(("PATH".into(), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into()));
        spec.cwd = Some(self.dir.path().to_owned());
        spec.status_file = Some(self.path("status"));
        spec.pid_file = Some(self.path("pid"));
        spec
    }

    pub(crate) fn spawn(&self, spec: &LaunchSpec) -> SpawnedLauncher {
        let out = File::create(self.path("stdout")).unwrap();
        let err = File::create(self.path("stderr")).unwrap();
        launch::spawn(launcher(), spec, out, err).unwrap()
    }

    pub(crate) fn start(&self, spec: &LaunchSpec) -> ProcessHandle {
        self.spawn(spec).go().unwrap()
    }

    pub(crate) fn run(&self, spec: &LaunchSpec) -> WaitStatus {
        finish(&self.start(spec))
    }

    /// Waits until a file has a whole line and returns its first one.
    pub(crate) fn line(&self, name: &str) -> String {
        wait_until(name, || self.text(name).contains('\n'));
        self.text(name).lines().next().unwrap_or_default().to_owned()
    }
}

pub(crate) fn launcher() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_mezzo-launcher"))
}

/// Reaps a launcher that is expected to end soon.
pub(crate) fn finish(process: &ProcessHandle) -> WaitStatus {
    assert!(process.wait_ended(Some(PATIENCE)).unwrap(), "launcher {} does not end", process.pid());
    process.wait().unwrap()
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long for: {what}");
        std::thread::yield_now();
    }
}

pub(crate) fn need_root() {
    assert!(
        user::is_root(),
        "this test needs root; run it as root, or name those that do not: --test launcher"
    );
}

/// A container's namespaces, as the agent asks for them when it is root.
pub(crate) fn contained(scene: &Scene, script: &str) -> LaunchSpec {
    need_root();
    let mut spec = scene.shell(script);
    spec.namespaces = Namespaces::PID_AND_MOUNT;
    spec.mount_proc = true;
    spec
}

/// Cgroups of one test, killed and removed whatever happens.
#[derive(Default)]
pub(crate) struct RemovedAtEnd(pub(crate) Vec<Cgroup>);

impl Drop for RemovedAtEnd {
    fn drop(&mut self) {
        let cleaned = cgroup::kill_and_remove(&self.0, PATIENCE);
        if !std::thread::panicking() {
            cleaned.expect("test cgroups are removed");
        }
    }
}
