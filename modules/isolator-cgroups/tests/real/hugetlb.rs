//! `cgroups/hugetlb`.

use std::fs;

use mezzo_isolator_cgroups::CgroupsIsolator;

use crate::calls::{asking, cleanup, prepare};
use crate::machine::{Machine, Task};

#[test]
fn a_container_is_in_the_controller() {
    let machine = Machine::new();
    if machine.has("hugetlb", "hugetlb") {
        let isolator = machine.isolator(CgroupsIsolator::hugetlb, &[]);
        prepare(&isolator, "c", asking(vec![], &[])).unwrap();
        let task = Task::start("read end");
        task.isolate(&isolator, "c");
        let procs = machine.read("hugetlb", "c", "cgroup.procs", "leaf/cgroup.procs");
        assert_eq!(procs, task.pid().to_string());
        let files = fs::read_dir(machine.dir("hugetlb", "c")).unwrap();
        let limits = files
            .filter(|file| {
                file.as_ref().unwrap().file_name().to_str().unwrap().starts_with("hugetlb.")
            })
            .count();
        assert!(limits > 0, "the controller is switched on");
        cleanup(&isolator, "c");
        return;
    }
    // Not mounted: then it says so, and what it does can be seen on a directory.
    let error = machine.try_isolator(CgroupsIsolator::hugetlb, &[]).unwrap_err();
    assert!(error.message.contains("needs the cgroup controller `hugetlb`"), "{error}");
    let posing = Machine::posing("hugetlb");
    let isolator = posing.isolator(CgroupsIsolator::hugetlb, &[]);
    prepare(&isolator, "c", asking(vec![], &[])).unwrap();
    let procs = posing.dir("hugetlb", "c").join("cgroup.procs");
    fs::write(&procs, "").unwrap();
    let task = Task::start("read end");
    task.isolate(&isolator, "c");
    assert_eq!(fs::read_to_string(&procs).unwrap(), task.pid().to_string());
    // A kernel's files go with their directory.
    fs::remove_file(procs).unwrap();
    cleanup(&isolator, "c");
    assert!(!posing.dir("hugetlb", "c").exists());
}
