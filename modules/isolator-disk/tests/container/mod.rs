//! A container as an isolator of disks sees it: an id, a sandbox, disk resources.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "a test may panic; not every test file needs all of it"
)]

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use mezzo_isolator_disk::DuIsolator;
use mezzo_module_api::types::resource::DiskInfo;
use mezzo_module_api::types::resource::disk_info::{Persistence, Source, source};
use mezzo_module_api::types::value::Scalar;
use mezzo_module_api::types::{ContainerId, Resource, ResourceStatistics, Volume};
use mezzo_module_api::v1::{
    CleanupRequest, ContainerConfig, ContainerLimitation, PrepareRequest, UpdateRequest,
    UsageRequest, WatchRequest, WatchResponse,
};
use mezzo_module_api::{Completion, Host, HostProcess, HostServices, Isolator, Level, Parameters};
use tempfile::TempDir;

/// Longer than any machine takes; reached only when a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two measurements.
const INTERVAL: Duration = Duration::from_millis(250);

/// An isolator with a work directory.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) isolator: DuIsolator,
    pub(crate) log: Receiver<String>,
}

struct Log(std::sync::Mutex<mpsc::Sender<String>>);

impl HostServices for Log {
    fn log(&self, level: Level, message: &str) {
        let _ = self.0.lock().unwrap().send(format!("{level:?}: {message}"));
    }
    fn count(&self, _: &str, _: u64) {}
}

impl World {
    pub(crate) fn new(enforce: bool) -> Self {
        Self::with_interval(enforce, INTERVAL)
    }

    pub(crate) fn with_interval(enforce: bool, interval: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (sender, log) = mpsc::channel();
        let process =
            HostProcess { work_dir: Some(dir.path().to_owned()), ..HostProcess::default() };
        let host = Host::new(Log(std::sync::Mutex::new(sender)), process);
        let interval = format!("{}ms", interval.as_millis());
        let parameters = Parameters::from_pairs(&[
            ("container_disk_watch_interval", interval.as_str()),
            ("enforce_container_disk_quota", if enforce { "true" } else { "false" }),
        ]);
        let isolator = DuIsolator::new(host, parameters).unwrap();
        Self { dir, isolator, log }
    }

    pub(crate) fn sandbox(&self, container: &str) -> PathBuf {
        let path = self.dir.path().join("sandboxes").join(container);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    pub(crate) fn prepare(&self, container: &str, resources: Vec<Resource>) -> PathBuf {
        self.prepare_with(container, resources, &[])
    }

    pub(crate) fn prepare_with(
        &self,
        container: &str,
        resources: Vec<Resource>,
        ephemeral: &[&Path],
    ) -> PathBuf {
        let sandbox = self.sandbox(container);
        let config = ContainerConfig {
            directory: sandbox.display().to_string(),
            ephemeral_volumes: ephemeral.iter().map(|path| path.display().to_string()).collect(),
            resources,
            ..ContainerConfig::default()
        };
        let request = PrepareRequest { container_id: Some(id(container)), config: Some(config) };
        self.isolator.prepare(request).unwrap();
        sandbox
    }

    pub(crate) fn update(&self, container: &str, requests: Vec<Resource>) {
        let container_id = Some(id(container));
        self.isolator
            .update(UpdateRequest { container_id, requests, ..UpdateRequest::default() })
            .unwrap();
    }

    /// The limitation, or `None` for "there will be none".
    pub(crate) fn watch(&self, container: &str) -> Receiver<Option<ContainerLimitation>> {
        let (sender, receiver) = mpsc::channel();
        let never = sender.clone();
        let done = Completion::with_never(
            move |result: Result<WatchResponse, _>| {
                let _ = sender.send(Some(result.unwrap().limitation.unwrap()));
            },
            move || {
                let _ = never.send(None);
            },
        );
        self.isolator.watch(WatchRequest { container_id: Some(id(container)) }, done);
        receiver
    }

    pub(crate) fn usage(&self, container: &str) -> ResourceStatistics {
        let request = UsageRequest { container_id: Some(id(container)) };
        self.isolator.usage(request).unwrap().statistics.unwrap()
    }

    /// Waits until the figure of the sandbox is as wanted.
    pub(crate) fn wait_for_usage(
        &self,
        container: &str,
        mut wanted: impl FnMut(&ResourceStatistics) -> bool,
    ) {
        let start = Instant::now();
        while !wanted(&self.usage(container)) {
            assert!(start.elapsed() < PATIENCE, "{:?}", self.usage(container));
            std::thread::yield_now();
        }
    }

    pub(crate) fn cleanup(&self, container: &str) {
        self.isolator.cleanup(CleanupRequest { container_id: Some(id(container)) }).unwrap();
    }
}

pub(crate) fn id(value: &str) -> ContainerId {
    ContainerId { value: value.to_owned(), parent: None }
}

/// Disk of the sandbox.
pub(crate) fn disk(megabytes: f64) -> Resource {
    Resource {
        name: "disk".into(),
        scalar: Some(Scalar { value: megabytes }),
        ..Resource::default()
    }
}

/// A persistent volume.
pub(crate) fn volume(megabytes: f64, container_path: &str) -> Resource {
    let info = DiskInfo {
        persistence: Some(Persistence { id: "an-id".into(), ..Persistence::default() }),
        volume: Some(Volume { container_path: container_path.into(), ..Volume::default() }),
        source: None,
    };
    Resource { disk: Some(info), ..disk(megabytes) }
}

/// A persistent volume on a disk of its own.
pub(crate) fn mounted_volume(megabytes: f64, container_path: &str, root: &Path) -> Resource {
    let mut resource = volume(megabytes, container_path);
    let mount = Some(source::Mount { root: Some(root.display().to_string()) });
    let source = Source { r#type: source::Type::Mount.into(), mount, ..Source::default() };
    resource.disk.as_mut().unwrap().source = Some(source);
    resource
}

/// Writes that many kilobytes.
pub(crate) fn file(path: impl AsRef<Path>, kilobytes: usize) {
    std::fs::write(path, vec![b'x'; kilobytes * 1024]).unwrap();
}
