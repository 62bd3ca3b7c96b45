//! One pass over `/proc` for all who ask within a moment.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mezzo_linux::process::ProcessTable;
use mezzo_linux::procfs::Procfs;
use mezzo_module_api::ModuleError;

/// How old a table may be that is handed out again. Whoever asks for the statistics of an agent asks about each container
/// and each isolator in turn, and all of them mean the same moment.
const FRESH: Duration = Duration::from_millis(100);

/// The last table; for all isolators of this library.
static LAST: Mutex<Option<(Instant, Arc<ProcessTable>)>> = Mutex::new(None);

/// The processes of the machine, a moment ago at most; now, when `pid` was not there then.
///
/// Those who ask while it is being read wait and get the same one.
pub(crate) fn with(pid: i32) -> Result<Arc<ProcessTable>, ModuleError> {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((when, table)) = last.as_ref()
        && when.elapsed() < FRESH
        && table.get(pid).is_some()
    {
        return Ok(Arc::clone(table));
    }
    let when = Instant::now();
    let table = ProcessTable::read(&Procfs::default())
        .map_err(|error| ModuleError::internal(format!("cannot list the processes: {error}")))?;
    let table = Arc::new(table);
    *last = Some((when, Arc::clone(&table)));
    Ok(table)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_process_that_came_later_is_found_and_others_share_the_pass() {
        let us = i32::try_from(std::process::id()).unwrap();
        assert!(with(us).unwrap().get(us).is_some());
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let table = with(pid).unwrap();
        assert_eq!(table.get(pid).unwrap().ppid, us);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
