//! What a containerizer needs to know before its first container.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mezzo_linux::launch::Namespaces;
use mezzo_linux::user::is_root;
use mezzo_module_api::{Hook, Isolator};
use mezzo_runtime::lanes::Callee;

/// Any isolator.
pub type AnyIsolator = dyn Isolator;

/// Any hook.
pub type AnyHook = dyn Hook;

/// An isolator, by the name it has in `--isolation`.
pub type NamedIsolator = Callee<AnyIsolator>;

/// A hook, by the name it has in `--hooks`.
pub type NamedHook = Callee<AnyHook>;

/// Calls of one kind that a module works on at a time. More than launches at once, so that it slows nobody down.
const PLACES: usize = 16;

/// An isolator under its name.
pub fn isolator(name: &str, module: Arc<dyn Isolator>) -> NamedIsolator {
    Callee::new(name, module, PLACES)
}

/// A hook under its name.
pub fn hook(name: &str, module: Arc<dyn Hook>) -> NamedHook {
    Callee::new(name, module, PLACES)
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
    /// How long a call of a module may take before others stop waiting for the launch that makes it.
    pub module_watchdog: Duration,
    /// How long a call of a module may take before it has failed.
    pub module_call_timeout: Duration,
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
            module_watchdog: Duration::from_secs(10),
            module_call_timeout: Duration::from_secs(60),
        }
    }
}
