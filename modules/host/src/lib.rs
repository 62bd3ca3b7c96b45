//! Brings modules into a process: reads the manifest, finds the libraries, checks them, loads them, and keeps count of what is
//! asked of them.
//!
//! ```no_run
//! use mezzo_module_host::{Manifest, Modules, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut options = Options::new("mezzo-agent", env!("CARGO_PKG_VERSION"), "/run/mezzo/agent");
//! options.manifests.push(Manifest::from_flag("/etc/mezzo/modules.json")?);
//! options.parameters.add("cgroups/cpu", "cgroups_root", "mezzo");
//!
//! let modules = Modules::load(options)?;
//! let isolators = modules.isolators("cgroups/cpu,cgroups/mem")?; // in this order
//! let hooks = modules.hooks("prelaunch")?;
//! modules.sweep(); // copies that earlier versions left
//! for module in modules.status() {
//!     println!("{} from {}", module.name(), module.file());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Before any code of a library runs in this process: the file is found, is a regular file that nobody else owns, can write or replace
//! (asked when root is going to run it), is a whole ELF library for this machine with our symbol in it; it is copied to a
//! content-addressed place (so that a file replaced on disk cannot hurt the running process, and the dynamic loader cannot mistake
//! one for another); and a child process, `mezzo-module-probe`, has opened the copy without coming to harm (once for each content:
//! what it saw is kept beside the copy; with a warning instead where the probe is not installed). Then version and layout of the boundary are checked. Libraries are never unloaded.
//!
//! Every call is counted and timed, and one that does not return is told of ([`Options::watchdog`], [`Modules::stuck`]).
//!
//! Our own modules come by the same way; a built-in manifest says which library has them, so that `--allocator=hierarchical`
//! needs no `--modules`.

mod builtin;
mod clean;
mod elf;
mod error;
mod file;
mod guard;
mod inflight;
mod known;
mod libraries;
mod loader;
mod manifest;
mod metered;
mod options;
mod probe;
mod search;
mod watchdog;

pub use builtin::builtin_names;
pub use error::{LoadError, ManifestError, ProbeError};
pub use loader::{Modules, NamedHook, NamedIsolator};
pub use manifest::{Entry, Library, Manifest, Module};
pub use options::{Options, ParameterDefaults};
pub use probe::{Inspected, InspectedModule, inspect, probe_main};
pub use search::search_path;
pub use watchdog::StuckCall;
