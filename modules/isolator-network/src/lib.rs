//! Isolator `network/ports`: containers in the host's network listen on the ports they were given, and on no others.
//!
//! Every so often one thread reads who listens on a TCP port of the machine (IP version 4 and 6; UDP has no listeners) and
//! which of these sockets the processes of each container have open. A port that is not among the container's `ports`
//! resources is told in the log and counted (`unallocated_ports`), once for as long as it is listened on. With
//! `enforce_container_ports` the outermost container ends with `REASON_CONTAINER_LIMITATION`, the ports as resources,
//! and a message that names them.
//!
//! | parameter | default | meaning |
//! |---|---|---|
//! | `enforce_container_ports` | `false` | End containers that listen where they may not. |
//! | `container_ports_watch_interval` | `30secs` | How often is looked. |
//! | `check_agent_port_range_only` | `false` | Judge only the ports among the agent's resources. |
//! | `container_ports_isolated_range` | all | Judge only these ports: `[8000-9000,31000-32000]`. Not together with the one above. |
//!
//! * Resources belong to the outermost container; those within it are held to the same ports.
//! * A container of an earlier life of the agent is judged once its resources have been told again (`update`).
//! * A container in a network of its own is not judged: its sockets are not among the host's. That its `NetworkInfo` has a
//!   name is not asked (Mesos asks for it): where no isolator makes networks, a name would be a way around the rule.
//! * It is a way to find mistakes, not a fence: a port that is listened on between two looks is not seen.
//!
//! The processes are those of the container's tree (see `mezzo_linux::process::ProcessTable`), so neither control groups
//! nor root are needed as long as agent and tasks are the same user.

mod book;
mod isolator;
mod scan;
mod settings;

use mezzo_module_abi::export_module;

pub use isolator::PortsIsolator;

export_module! {
    isolator "network/ports" ("finds containers that listen on ports they were not given") = PortsIsolator::new;
}
