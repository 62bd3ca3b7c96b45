//! A cgroup root of a test's own, and processes to put into it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mezzo_isolator_cgroups::CgroupsIsolator;
use mezzo_linux::cgroup::{
    Cgroup, Hierarchies, V1Hierarchies, V2Hierarchy, detect, kill_and_remove,
};
use mezzo_module_api::v1::IsolateRequest;
use mezzo_module_api::{Host, HostProcess, HostServices, Isolator, Level, ModuleError, Parameters};

use crate::calls::id;

/// Longer than any machine takes; reached only when a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How an isolator is made.
type Make = fn(Host, Parameters) -> Result<CgroupsIsolator, ModuleError>;

/// A cgroup root of a test's own. Fails at the end when anything is left in it.
pub(crate) struct Machine {
    pub(crate) root: String,
    hierarchies: Hierarchies,
    /// Where they are, unless the isolator finds them by itself.
    place: Option<PathBuf>,
    /// The hierarchy, if it is a mere directory.
    posing: Option<tempfile::TempDir>,
    host: Recorder,
}

impl Machine {
    /// What this machine has. A test that did not run must not look like one that passed.
    pub(crate) fn new() -> Self {
        let hierarchies =
            detect().unwrap().expect("this test needs cgroups: none are mounted here");
        Self::with(hierarchies, None)
    }

    /// A version-2 hierarchy, which may be one that has hardly any controllers because version 1 has them.
    pub(crate) fn unified() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts
            .lines()
            .find_map(|line| {
                let (before, after) = line.split_once(" - ")?;
                after.starts_with("cgroup2 ").then(|| before.split(' ').nth(4))?
            })
            .expect("this test needs a mounted cgroup2");
        let found = V2Hierarchy::at(Path::new(mount)).unwrap();
        Self::with(Hierarchies::V2(found), Some(mount.into()))
    }

    /// A directory that poses as the version-1 hierarchy of a controller.
    pub(crate) fn posing(controller: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().join(controller);
        fs::create_dir(&mount).unwrap();
        let hierarchies = V1Hierarchies::at([(controller.to_owned(), mount)]);
        let place = Some(dir.path().to_owned());
        let mut machine = Self::with(Hierarchies::V1(hierarchies), place);
        machine.posing = Some(dir);
        machine
    }

    fn with(hierarchies: Hierarchies, place: Option<PathBuf>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        assert!(mezzo_linux::user::is_root(), "this test makes cgroups: run it as root");
        let root = format!(
            "mezzo-test-isolator-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        Self { root, hierarchies, place, posing: None, host: Recorder::default() }
    }

    pub(crate) fn is_v2(&self) -> bool {
        matches!(self.hierarchies, Hierarchies::V2(_))
    }

    /// True when there is the controller, by its name in version 1 and 2.
    pub(crate) fn has(&self, v1: &str, v2: &str) -> bool {
        match &self.hierarchies {
            Hierarchies::V1(found) => found.has(v1),
            Hierarchies::V2(found) => found.controllers.iter().any(|name| name == v2),
        }
    }

    pub(crate) fn isolator(&self, make: Make, more: &[(&str, &str)]) -> CgroupsIsolator {
        self.try_isolator(make, more).unwrap()
    }

    pub(crate) fn try_isolator(
        &self,
        make: Make,
        more: &[(&str, &str)],
    ) -> Result<CgroupsIsolator, ModuleError> {
        let mut pairs = vec![("cgroups_root", self.root.as_str())];
        let place = self.place.as_ref().map(|place| place.to_str().unwrap());
        pairs.extend(place.map(|place| ("cgroups_hierarchy", place)));
        pairs.extend(more);
        let host = Host::new(self.host.clone(), HostProcess::default());
        make(host, Parameters::from_pairs(&pairs))
    }

    /// What the isolators have counted under this name.
    pub(crate) fn counted(&self, counter: &str) -> u64 {
        self.host.counters.lock().unwrap().get(counter).copied().unwrap_or(0)
    }

    /// True when a line of the log has all of these.
    pub(crate) fn logged(&self, words: &[&str]) -> bool {
        let lines = self.host.lines.lock().unwrap();
        lines.iter().any(|line| words.iter().all(|word| line.contains(word)))
    }

    pub(crate) fn dir(&self, controller: &str, container: &str) -> PathBuf {
        let path = format!("{}/{container}", self.root);
        let cgroup = match &self.hierarchies {
            Hierarchies::V1(found) => found.cgroup(controller, &path).unwrap(),
            Hierarchies::V2(found) => found.cgroup(&path).unwrap(),
        };
        cgroup.path().to_owned()
    }

    /// A file by its names in version 1 and 2, without the line's end.
    pub(crate) fn read(&self, controller: &str, container: &str, v1: &str, v2: &str) -> String {
        let file = self.dir(controller, container).join(if self.is_v2() { v2 } else { v1 });
        fs::read_to_string(file).unwrap().trim().to_owned()
    }

    /// The test's root in every hierarchy.
    pub(crate) fn roots(&self) -> Vec<PathBuf> {
        match &self.hierarchies {
            Hierarchies::V1(found) => {
                let names: Vec<_> = found.controllers().collect();
                let mounts = found.distinct(&names).unwrap();
                mounts.into_iter().map(|mount| mount.join(&self.root)).collect()
            }
            Hierarchies::V2(found) => vec![found.mount.join(&self.root)],
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Goes after its isolators, which remove what is empty.
        let left: Vec<_> = self.roots().into_iter().filter(|root| root.exists()).collect();
        let cgroups: Vec<_> = left.iter().map(Cgroup::new).collect();
        let _ = kill_and_remove(&cgroups, PATIENCE);
        assert!(std::thread::panicking() || left.is_empty(), "{left:?} are left");
    }
}

/// A host that remembers.
#[derive(Clone, Default)]
struct Recorder {
    lines: Arc<Mutex<Vec<String>>>,
    counters: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl HostServices for Recorder {
    fn log(&self, _: Level, message: &str) {
        self.lines.lock().unwrap().push(message.to_owned());
    }

    fn count(&self, counter: &str, delta: u64) {
        *self.counters.lock().unwrap().entry(counter.to_owned()).or_default() += delta;
    }
}

/// A shell that waits for a line before it runs its script, as a launcher does. Killed at the end.
pub(crate) struct Task {
    child: Child,
    output: tempfile::NamedTempFile,
}

impl Task {
    pub(crate) fn start(script: &str) -> Self {
        let script = format!("read go\n{script}");
        let output = tempfile::NamedTempFile::new().unwrap();
        // One description, so that neither stream writes over the other.
        let stdout = output.reopen().unwrap();
        let stderr = stdout.try_clone().unwrap();
        let child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        Self { child, output }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn isolate(&self, isolator: &dyn Isolator, container: &str) {
        let pid = Some(u64::from(self.pid()));
        isolator.isolate(IsolateRequest { container_id: Some(id(container)), pid }).unwrap();
    }

    pub(crate) fn go(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    /// What it has written so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.output.path()).unwrap()
    }

    /// Puts it into a container, lets it run and end; what it has written.
    pub(crate) fn run_in(mut self, isolator: &dyn Isolator, container: &str) -> String {
        self.isolate(isolator, container);
        self.go();
        self.wait();
        self.output()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come");
        std::thread::yield_now();
    }
}
