//! `cgroups/cpuset`.

use std::fs;

use mezzo_isolator_cgroups::CgroupsIsolator;

use crate::calls::{asking, cleanup, prepare};
use crate::machine::{Machine, Task};

#[test]
fn a_container_has_the_cpus_and_memory_nodes_of_the_machine() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::cpuset, &[]);
    prepare(&isolator, "c", asking(vec![], &[])).unwrap();
    let task = Task::start("grep _allowed_list: /proc/self/status");
    let ours = fs::read_to_string("/proc/self/status").unwrap();
    let ours: Vec<_> = ours.lines().filter(|line| line.contains("_allowed_list:")).collect();
    let pid = task.pid();
    let output = {
        use mezzo_module_api::Isolator;
        let request = mezzo_module_api::v1::IsolateRequest {
            container_id: Some(crate::calls::id("c")),
            pid: Some(pid.into()),
        };
        isolator.isolate(request).unwrap();
        let procs = machine.read("cpuset", "c", "cgroup.procs", "leaf/cgroup.procs");
        assert_eq!(procs, pid.to_string());
        task.run_in(&isolator, "c")
    };
    assert_eq!(output.lines().collect::<Vec<_>>(), ours);
    cleanup(&isolator, "c");
}
