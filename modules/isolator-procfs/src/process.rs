//! A process as the monitor sees it, and which processes make up a container.

use std::collections::{HashMap, HashSet, VecDeque};

/// One process at one moment. However it was measured, these are the figures that count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// When it started, as the kernel counts; with the pid it names a process for good. 0 when not known.
    pub(crate) start_time: u64,
    pub(crate) ppid: i32,
    pub(crate) pgrp: i32,
    pub(crate) session: i32,
    pub(crate) name: String,
    /// CPU time in clock ticks.
    pub(crate) user_ticks: u64,
    pub(crate) system_ticks: u64,
    pub(crate) virtual_bytes: u64,
    /// What counts against the physical limit: pages that are resident, or less where that is measured more exactly.
    pub(crate) physical_bytes: u64,
    pub(crate) resident_pages: u64,
}

/// The process a tree grows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) pid: i32,
    /// A process with the same pid that started at another time is somebody else. `None` matches any.
    pub(crate) start_time: Option<u64>,
}

impl Root {
    fn is(self, process: &Process) -> bool {
        self.pid == process.pid
            && self.start_time.is_none_or(|start_time| start_time == process.start_time)
    }
}

/// The processes of the trees of these roots, each once, roots first and parents before their children.
///
/// A process belongs to its parent. One that has lost its parent (so that pid 1 has it now) belongs to the leader of its
/// session, unless it leads a session itself: a daemon that stays in the container's session still counts, one that left
/// it by `setsid` has escaped. (Under `mezzo-launcher` nobody loses a parent: the launcher takes them.)
pub(crate) fn tree(all: &[Process], roots: &[Root]) -> Vec<Process> {
    const INIT: i32 = 1;
    let by_pid: HashMap<i32, &Process> = all.iter().map(|process| (process.pid, process)).collect();
    let mut children: HashMap<i32, Vec<&Process>> = HashMap::new();
    for process in all.iter().filter(|process| process.pid != INIT) {
        let parent = if process.ppid == INIT && process.session != process.pid {
            process.session
        } else {
            process.ppid
        };
        children.entry(parent).or_default().push(process);
    }
    let roots =
        roots.iter().filter_map(|root| by_pid.get(&root.pid).filter(|found| root.is(found)));
    let mut queue: VecDeque<&Process> = roots.copied().collect();
    let (mut seen, mut tree) = (HashSet::new(), Vec::new());
    while let Some(process) = queue.pop_front() {
        if seen.insert(process.pid) {
            queue.extend(children.get(&process.pid).into_iter().flatten());
            tree.push(process.clone());
        }
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, ppid: i32, session: i32) -> Process {
        Process { pid, ppid, pgrp: session, session, start_time: 7, ..Process::default() }
    }

    fn pids(all: &[Process], roots: &[i32]) -> Vec<i32> {
        let roots: Vec<Root> =
            roots.iter().map(|pid| Root { pid: *pid, start_time: Some(7) }).collect();
        tree(all, &roots).iter().map(|process| process.pid).collect()
    }

    #[test]
    fn descendants_belong_to_the_tree_and_neighbours_do_not() {
        let all = [
            process(1, 0, 1),
            process(100, 1, 100),
            process(200, 100, 100),
            process(300, 200, 100),
            process(400, 1, 400),
            process(500, 200, 500),
        ];
        assert_eq!(pids(&all, &[100]), [100, 200, 300, 500]);
        assert_eq!(pids(&all, &[400]), [400]);
        assert_eq!(pids(&all, &[100, 400, 200]), [100, 400, 200, 300, 500]);
    }

    #[test]
    fn a_daemon_counts_in_its_session_until_it_leaves_it() {
        let all = [
            process(1, 0, 1),
            process(100, 50, 100),
            process(200, 1, 100), // daemonised, still in the session
            process(300, 1, 300), // called setsid
            process(400, 200, 100),
            process(500, 100, 500), // called setsid but kept its parent
        ];
        assert_eq!(pids(&all, &[100]), [100, 200, 500, 400]);
    }

    #[test]
    fn without_its_root_there_is_no_tree() {
        let all = [process(1, 0, 1), process(200, 100, 100)];
        assert!(pids(&all, &[100]).is_empty());
        let somebody_else = Process { start_time: 8, ..process(100, 1, 100) };
        assert!(pids(&[somebody_else, process(200, 100, 100)], &[100]).is_empty());
        assert!(pids(&[], &[100]).is_empty());
    }

    #[test]
    fn pid_1_belongs_to_nobody_and_circles_end() {
        let all = [process(1, 100, 100), process(100, 200, 100), process(200, 100, 100)];
        assert_eq!(pids(&all, &[100]), [100, 200]);
    }
}
