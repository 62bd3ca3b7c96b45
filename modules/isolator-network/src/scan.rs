//! One look at all containers: the machine's listeners and processes are read once, whatever the number of containers.

use std::collections::HashMap;

use mezzo_linux::process::{ProcessId, ProcessTable};
use mezzo_linux::procfs::{Procfs, Stat};
use mezzo_model::{ContainerId, Range, Ranges};

use crate::isolator::Shared;

/// Looks once. What cannot be read is told in the log, and is looked at again the next time.
pub(crate) fn once(shared: &Shared) {
    let roots: Vec<(ContainerId, ProcessId)> = {
        let book = shared.book();
        let started = |(id, root): (&ContainerId, Option<ProcessId>)| Some((id.clone(), root?));
        book.containers
            .iter()
            .map(|(id, container)| (id, container.root))
            .filter_map(started)
            .collect()
    };
    match listening(shared, &Procfs::default(), &roots) {
        Ok(found) => judge(shared, found),
        Err(error) => shared.host.warn(format!("cannot see who listens where: {error}")),
    }
}

/// Tells of what is wrong, and ends who may not go on.
fn judge(shared: &Shared, listening: HashMap<ContainerId, Ranges>) {
    let offences = shared.book().judge(listening);
    for offence in offences {
        if offence.is_news {
            shared.host.warn(offence.message());
            shared.host.count("unallocated_ports", offence.ports.count());
        }
        if shared.settings.enforce {
            let limit = shared.book().limit_of(offence.container.root());
            if let Some(limit) = limit {
                limit.reach(offence.limitation());
            }
        }
    }
}

/// The judged ports that each container listens on.
fn listening(
    shared: &Shared,
    procfs: &Procfs,
    roots: &[(ContainerId, ProcessId)],
) -> mezzo_linux::Result<HashMap<ContainerId, Ranges>> {
    let mut found = HashMap::new();
    if roots.is_empty() {
        return Ok(found);
    }
    let mut judged = procfs.listening_sockets()?;
    judged.retain(|_, address| shared.settings.judges(address.port()));
    if judged.is_empty() {
        return Ok(found);
    }
    let table = ProcessTable::read(procfs)?;
    for (id, root) in roots {
        let is_same = |stat: &Stat| stat.start_time == root.start_time;
        if !table.get(root.pid).is_some_and(is_same) {
            continue;
        }
        let mut ports = Ranges::new();
        for stat in table.tree([root.pid]) {
            match ports_of(procfs, stat, &judged) {
                Ok(more) => ports = ports.union(&more),
                Err(error) => {
                    shared
                        .host
                        .debug(format!("a process of container {id} is not judged: {error}"));
                }
            }
        }
        found.insert(id.clone(), ports);
    }
    Ok(found)
}

/// The judged ports that one process listens on.
fn ports_of(
    procfs: &Procfs,
    stat: &Stat,
    judged: &HashMap<u64, std::net::SocketAddr>,
) -> mezzo_linux::Result<Ranges> {
    let sockets = procfs.open_sockets(stat.pid)?.unwrap_or_default();
    let ports: Ranges = sockets
        .iter()
        .filter_map(|inode| judged.get(inode))
        .map(|address| Range { begin: address.port().into(), end: address.port().into() })
        .collect();
    // Nobody is to be blamed for the process that got the pid after it.
    let is_same = ports.is_empty()
        || procfs.stat(stat.pid)?.is_some_and(|now| now.start_time == stat.start_time);
    Ok(if is_same { ports } else { Ranges::new() })
}
