//! Isolators `disk/du` and `disk/xfs`: how much disk a container may use.
//!
//! * `disk/du` measures from time to time and can end the container that uses too much. Works on every file system.
//!
//! | parameter | default | meaning |
//! |---|---|---|
//! | `container_disk_watch_interval` | `15secs` | Between two measurements of a sandbox or volume. |
//! | `enforce_container_disk_quota` | `false` | Who uses more than its quota is ended; else it is only measured. |

mod du;
mod size;

use mezzo_module_abi::export_module;

pub use du::DuIsolator;

export_module! {
    isolator "disk/du" ("disk usage of sandboxes and volumes, by walking them") = DuIsolator::new;
}
