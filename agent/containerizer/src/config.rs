//! What a containerizer needs to know before its first container.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mezzo_linux::launch::Namespaces;
use mezzo_linux::user::is_root;
use mezzo_module_api::{Hook, Isolator};

/// An isolator and the name the operator knows it by.
#[derive(Clone)]
pub struct NamedIsolator {
    /// As in `--isolation`.
    pub name: String,
    /// The module.
    pub isolator: Arc<dyn Isolator>,
}

/// A hook and the name the operator knows it by.
#[derive(Clone)]
pub struct NamedHook {
    /// As in `--hooks`.
    pub name: String,
    /// The module.
    pub hook: Arc<dyn Hook>,
}

/// The settings of a [`MezzoContainerizer`](crate::MezzoContainerizer).
#[derive(Clone, Debug)]
pub struct Config {
    /// Where containers are written down; should not survive a reboot.
    pub runtime_dir: PathBuf,
    /// The `mezzo-launcher` binary.
    pub launcher: PathBuf,
    /// What every container gets for itself. Needs root.
    pub namespaces: Namespaces,
    /// In the order of `--isolation`.
    pub isolators: Vec<NamedIsolator>,
    /// In the order of `--hooks`.
    pub hooks: Vec<NamedHook>,
    /// Whether the request for cpus is a hard limit (`--cgroups_enable_cfs`); then statistics say so.
    pub cpus_are_limited: bool,
    /// Launches that are worked on at a time; more wait.
    pub launches_at_once: usize,
    /// How long the processes of a container may take to die from SIGKILL before it counts as stuck.
    pub kill_timeout: Duration,
}

impl Config {
    /// Pid and mount namespaces if this process is root, no isolators, no hooks.
    pub fn new(runtime_dir: impl Into<PathBuf>, launcher: impl Into<PathBuf>) -> Self {
        Self {
            runtime_dir: runtime_dir.into(),
            launcher: launcher.into(),
            namespaces: if is_root() { Namespaces::PID_AND_MOUNT } else { Namespaces::NONE },
            isolators: Vec::new(),
            hooks: Vec::new(),
            cpus_are_limited: false,
            // Attaching to a v1 cgroup waits for the kernel, so more than there are cores.
            launches_at_once: 8,
            kill_timeout: Duration::from_secs(60),
        }
    }
}

impl fmt::Debug for NamedIsolator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NamedIsolator").field(&self.name).finish()
    }
}

impl fmt::Debug for NamedHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NamedHook").field(&self.name).finish()
    }
}
