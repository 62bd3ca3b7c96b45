//! What isolators add to a container: prepare, isolate and cleanup of one process in cgroups of its own, against the bare
//! directories in the same hierarchies. Wants root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use mezzo_module_api::types::value::{Scalar, Type};
use mezzo_module_api::types::{ContainerId, Resource};
use mezzo_module_api::v1::{CleanupRequest, ContainerConfig, IsolateRequest, PrepareRequest};
use mezzo_module_host::NamedIsolator;
use serde_json::json;

use crate::measurement::Measurement;
use crate::modules;
use crate::options::Options;

/// Where control groups are.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Isolators that are measured together.
const SETS: [(&str, [&str; 3]); 2] = [
    (
        "cgroups/cpu,cgroups/mem",
        ["isolator/cpu+mem", "isolator/cpu+mem prepare+isolate", "isolator/cpu+mem cleanup"],
    ),
    ("cgroups/all", ["isolator/all", "isolator/all prepare+isolate", "isolator/all cleanup"]),
];

/// Measures all sets.
pub(crate) fn run(options: &Options) -> anyhow::Result<Vec<Measurement>> {
    ensure!(rustix::process::geteuid().is_root(), "isolators make cgroups: this wants root");
    let containers = options.number("--containers", 200)?;
    let root = format!("mezzo-bench-{}", std::process::id());
    let measured = SETS.iter().map(|(set, names)| one(set, *names, containers, &root));
    let measured: anyhow::Result<Vec<_>> = measured.collect();
    let left = remove(&root);
    let all = measured?.into_iter().flatten().collect();
    left?;
    Ok(all)
}

/// What one container cost, in milliseconds.
#[derive(Clone, Copy)]
struct Cost {
    begin: f64,
    end: f64,
}

fn one(
    set: &str,
    names: [&'static str; 3],
    containers: u64,
    root: &str,
) -> anyhow::Result<Vec<Measurement>> {
    let folder = tempfile::Builder::new().prefix("mezzo-bench-").tempdir()?;
    let modules = modules::load(&folder, None, |options| {
        for module in set.split(',') {
            options.parameters.add(module, "cgroups_root", root);
        }
    })?;
    let isolators = modules.isolators(set)?;
    let (mut loaded, mut bare) = (Vec::new(), Vec::new());
    for n in 0..=containers {
        let id = format!("container-{n}");
        let (cost, places) = isolated(&isolators, &id, folder.path())?;
        let baseline = directories(&places, &format!("bare-{n}"))?;
        // The first makes what is shared by all.
        if n > 0 {
            loaded.push(cost);
            bare.push(baseline);
        }
    }
    let measure = |name, of: fn(&Cost) -> f64| {
        let values = |costs: &[Cost]| costs.iter().map(of).collect();
        let parameters = json!({"isolators": set, "containers": containers, "in_flight": 1});
        let baseline = Measurement {
            name: "mkdir, attach, rmdir in the same hierarchies",
            parameters: parameters.clone(),
            unit: "ms",
            values: values(&bare),
            baseline: None,
        };
        let baseline = Some(Box::new(baseline));
        Measurement { name, parameters, unit: "ms", values: values(&loaded), baseline }
    };
    let [whole, begin, end] = names;
    Ok(vec![
        measure(whole, |cost| cost.begin + cost.end),
        measure(begin, |cost| cost.begin),
        measure(end, |cost| cost.end),
    ])
}

/// One container by its isolators; and the directories that they made for it, the outer ones first.
fn isolated(
    isolators: &[NamedIsolator],
    id: &str,
    sandbox: &Path,
) -> anyhow::Result<(Cost, Vec<Place>)> {
    let container_id = Some(ContainerId { value: id.to_owned(), ..ContainerId::default() });
    let config = ContainerConfig {
        resources: vec![scalar("cpus", 0.1), scalar("mem", 32.0)],
        directory: sandbox.display().to_string(),
        ..ContainerConfig::default()
    };
    let process = Sleeper::start()?;
    let begun = Instant::now();
    for isolator in isolators {
        let (container_id, config) = (container_id.clone(), Some(config.clone()));
        isolator.module.prepare(PrepareRequest { container_id, config })?;
    }
    for isolator in isolators {
        let (container_id, pid) = (container_id.clone(), Some(process.pid().into()));
        isolator.module.isolate(IsolateRequest { container_id, pid })?;
    }
    let begin = milliseconds(begun);
    let places = places(id, process.pid())?;
    drop(process);
    let begun = Instant::now();
    for isolator in isolators.iter().rev() {
        isolator.module.cleanup(CleanupRequest { container_id: container_id.clone() })?;
    }
    Ok((Cost { begin, end: milliseconds(begun) }, places))
}

/// A directory of a container, and whether its process was in it.
struct Place {
    parent: PathBuf,
    /// Below `parent`: the container's name, and what follows it.
    below: PathBuf,
    attached: bool,
}

/// Where isolators have put a container.
fn places(id: &str, pid: u32) -> anyhow::Result<Vec<Place>> {
    let mut found = Vec::new();
    let base = Path::new(CGROUPS);
    for hierarchy in folders(base).chain([base.to_owned()]) {
        // A link names a hierarchy that is there by its other name.
        let top = hierarchy.join(format!("mezzo-bench-{}", std::process::id()));
        let parent = if hierarchy.is_symlink() { continue } else { top };
        let mut todo = vec![parent.join(id)];
        while let Some(folder) = todo.pop().filter(|folder| folder.is_dir()) {
            let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            todo.extend(folders(&folder));
            found.push(Place {
                parent: parent.clone(),
                below: folder.strip_prefix(parent.join(id))?.to_owned(),
                attached: processes.lines().any(|line| line == pid.to_string()),
            });
        }
    }
    ensure!(found.iter().any(|place| place.attached), "the isolators made no cgroup for {id}");
    Ok(found)
}

/// The same directories by hand.
fn directories(places: &[Place], id: &str) -> anyhow::Result<Cost> {
    let process = Sleeper::start()?;
    let paths: Vec<(PathBuf, bool)> = places
        .iter()
        .map(|place| (place.parent.join(id).join(&place.below), place.attached))
        .collect();
    let begun = Instant::now();
    for (path, attached) in &paths {
        let put = |file: &str, text: &str| {
            fs::write(path.join(file), text).with_context(|| format!("{}/{file}", path.display()))
        };
        fs::create_dir(path).with_context(|| path.display().to_string())?;
        if *attached {
            // Version 1 lets nobody into a cpuset without processors and memory.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let above = path.parent().map(|above| above.join(file)).filter(|f| f.is_file());
                if let Some(above) = above {
                    put(file, &fs::read_to_string(above)?)?;
                }
            }
            put("cgroup.procs", &process.pid().to_string())?;
        }
    }
    let begin = milliseconds(begun);
    drop(process);
    let begun = Instant::now();
    for (path, _) in paths.iter().rev() {
        // A process that has ended is in its cgroup for a moment more.
        while let Err(error) = fs::remove_dir(path) {
            ensure!(error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()), error);
        }
    }
    Ok(Cost { begin, end: milliseconds(begun) })
}

/// A process that does nothing, until it is dropped.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> anyhow::Result<Self> {
        let mut command = Command::new("sleep");
        command.arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().context("cannot run sleep")?))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // Fails when it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Removes what is below the cgroups of this name, and them.
fn remove(root: &str) -> anyhow::Result<()> {
    let base = Path::new(CGROUPS);
    for hierarchy in folders(base).chain([base.to_owned()]) {
        remove_tree(&hierarchy.join(root))?;
    }
    Ok(())
}

fn remove_tree(folder: &Path) -> anyhow::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    folders(folder).try_for_each(|child| remove_tree(&child))?;
    fs::remove_dir(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

fn folders(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink())
}

fn scalar(name: &str, value: f64) -> Resource {
    Resource {
        name: name.to_owned(),
        r#type: Type::Scalar.into(),
        scalar: Some(Scalar { value }),
        ..Resource::default()
    }
}

fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}
