//! What this machine has to offer: what the operator says first, then what can be seen.

use std::collections::BTreeSet;
use std::path::Path;

use mezzo_linux::procfs::{self, Procfs};
use mezzo_model::{Resources, Role};

const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;
/// The ports of an agent that does not say which.
const PORTS: &str = "ports:[31000-32000]";

/// What of this machine is seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Machine {
    /// Online logical CPUs.
    pub(crate) cpus: Option<u32>,
    /// Bytes of memory.
    pub(crate) memory: Option<u64>,
    /// Bytes of the file system of the work directory.
    pub(crate) disk: Option<u64>,
}

impl Machine {
    /// Looks. What cannot be seen is left out.
    pub(crate) fn look(work_dir: &Path) -> Self {
        Self {
            cpus: procfs::online_cpus().ok(),
            memory: Procfs::default().meminfo().map(|m| m.total).ok(),
            disk: procfs::disk_space(work_dir).map(|d| d.total).ok(),
        }
    }

    /// A bit of memory is left to the system.
    fn memory_mb(self) -> u64 {
        match self.memory {
            Some(total) if total >= 2 * GB => (total - GB) / MB,
            Some(total) => total / 2 / MB,
            None => GB / MB,
        }
    }

    fn disk_mb(self) -> u64 {
        match self.disk {
            Some(total) if total >= 10 * GB => (total - 5 * GB) / MB,
            Some(total) => total / 2 / MB,
            None => 10 * GB / MB,
        }
    }
}

/// Why there is nothing to offer.
#[derive(Debug, thiserror::Error)]
pub enum ResourcesError {
    /// `--default_role` is none.
    #[error("flag --default_role")]
    Role(#[source] mezzo_model::InvalidRole),
    /// `--resources` is none.
    #[error("flag --resources")]
    Resources(#[source] mezzo_model::ParseResourcesError),
}

/// The resources of the flag, completed by what is seen of the machine: a name that the flag mentions, even with nothing,
/// is not detected.
pub(crate) fn resources(
    flag: Option<&str>,
    default_role: &str,
    machine: Machine,
) -> Result<Resources, ResourcesError> {
    let role = Role::parse(default_role).map_err(ResourcesError::Role)?;
    let text = flag.unwrap_or_default().trim();
    let mut resources = Resources::default();
    let mut mentioned = BTreeSet::new();
    if !text.is_empty() {
        let parsed =
            mezzo_model::ParsedResources::parse(text, &role).map_err(ResourcesError::Resources)?;
        mentioned = parsed.mentioned;
        resources += parsed.resources;
    }
    let seen = [
        ("cpus", format!("cpus:{}", machine.cpus.unwrap_or(1))),
        ("mem", format!("mem:{}", machine.memory_mb())),
        ("disk", format!("disk:{}", machine.disk_mb())),
        ("ports", PORTS.to_owned()),
    ];
    for (name, text) in seen {
        if !mentioned.contains(name) {
            resources += Resources::parse(&text, &role).map_err(ResourcesError::Resources)?;
        }
    }
    Ok(resources)
}

/// Resources as people read them.
pub(crate) fn shown(resources: &[mezzo_proto::v1::Resource]) -> String {
    Resources::from_proto(resources).unwrap_or_default().to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::{GB, MB, Machine, resources};

    const MACHINE: Machine = Machine { cpus: Some(4), memory: Some(8 * GB), disk: Some(100 * GB) };

    fn shown(flag: &str, machine: Machine) -> String {
        resources(Some(flag), "*", machine).unwrap().to_string()
    }

    #[test]
    fn without_the_flag_everything_is_detected() {
        assert_eq!(shown("", MACHINE), "cpus:4;mem:7168;disk:97280;ports:[31000-32000]");
    }

    #[test]
    fn what_the_flag_says_is_not_detected() {
        assert_eq!(
            shown("cpus:2;mem:512", MACHINE),
            "cpus:2;mem:512;disk:97280;ports:[31000-32000]"
        );
    }

    #[test]
    fn a_resource_the_flag_sets_to_nothing_counts_as_said() {
        assert_eq!(shown("cpus:0;ports:[1-2]", MACHINE), "mem:7168;disk:97280;ports:[1-2]");
    }

    #[test]
    fn small_machines_give_half() {
        let mem = |memory| {
            shown("cpus:1;disk:1;ports:[1-1]", Machine { memory: Some(memory), ..MACHINE })
        };
        assert_eq!(mem(2 * GB - 1), "cpus:1;mem:1023;disk:1;ports:[1-1]");
        assert_eq!(mem(2 * GB), "cpus:1;mem:1024;disk:1;ports:[1-1]");
        let disk =
            |disk| shown("cpus:1;mem:1;ports:[1-1]", Machine { disk: Some(disk), ..MACHINE });
        assert_eq!(disk(10 * GB - MB), "cpus:1;mem:1;disk:5119;ports:[1-1]");
        assert_eq!(disk(10 * GB), "cpus:1;mem:1;disk:5120;ports:[1-1]");
    }

    #[test]
    fn what_cannot_be_seen_is_assumed() {
        assert_eq!(shown("", Machine::default()), "cpus:1;mem:1024;disk:10240;ports:[31000-32000]");
    }

    #[test]
    fn a_flag_that_is_no_resources_is_refused() {
        for wrong in ["cpus", "cpus:-1", "cpus:nan", "ports:[5-1]", "mem:abc"] {
            let error = resources(Some(wrong), "*", MACHINE).unwrap_err();
            assert!(
                mezzo_runtime::errors::one_line(&error).starts_with("flag --resources: "),
                "{error}"
            );
        }
    }

    #[test]
    fn another_default_role_reserves_everything() {
        let all = resources(Some("cpus:1"), "web", MACHINE).unwrap();
        assert!(all.unreserved().is_empty());
    }
}
