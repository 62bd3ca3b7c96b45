//! Isolators `disk/du` and `disk/xfs`: how much disk a container may use.
//!
//! * `disk/du` measures from time to time and can end the container that uses too much. Works on every file system.
//! * `disk/xfs` has the kernel count and enforce, by project quotas of XFS: nobody gets beyond its quota, not for a moment. Wants root
//!   and a work directory on XFS mounted with `prjquota`.
//!
//! | parameter | default | meaning |
//! |---|---|---|
//! | `container_disk_watch_interval` | `15secs` | Between two measurements of a sandbox or volume; `disk/xfs`: between two looks for containers to end. |
//! | `enforce_container_disk_quota` | `false` | `disk/du`: who uses more than its quota is ended; `disk/xfs`: cannot write more. Else it is only measured. |
//! | `xfs_kill_containers` | `false` | `disk/xfs`, with enforcement: who uses more than its quota is ended. |
//! | `xfs_quota_headroom` | `10MB` | `disk/xfs`, where containers are ended: so far above its quota the kernel stops a container. |
//! | `xfs_project_range` | `[5000-10000]` | `disk/xfs`: project numbers that nobody else on the machine uses; one per sandbox and volume. |
//! | `disk_watch_interval` | `1mins` | `disk/xfs`: between two looks for project numbers whose files are gone. |

mod du;
mod places;
mod size;
mod xfs;

use mezzo_module_abi::export_module;

pub use du::DuIsolator;
pub use xfs::XfsIsolator;

export_module! {
    isolator "disk/du" ("disk usage of sandboxes and volumes, by walking them") = DuIsolator::new;
    isolator "disk/xfs" ("disk quotas of sandboxes and volumes, by XFS") = XfsIsolator::new;
}
