//! `cgroups/net_cls`, which only version 1 has.

use std::fs;

use mezzo_isolator_cgroups::CgroupsIsolator;

use crate::calls::{asking, cleanup, prepare, recover, status};
use crate::machine::{Machine, Task};

const HANDLES: [(&str, &str); 2] =
    [("cgroups_net_cls_primary_handle", "0x12"), ("cgroups_net_cls_secondary_handles", "0x1,0x2")];

/// The files that a kernel makes in a new cgroup.
fn files(machine: &Machine, container: &str) {
    for (name, text) in [("cgroup.procs", ""), ("net_cls.classid", "0\n")] {
        fs::write(machine.dir("net_cls", container).join(name), text).unwrap();
    }
}

fn classid(machine: &Machine, container: &str) -> String {
    machine.read("net_cls", container, "net_cls.classid", "")
}

fn told(isolator: &CgroupsIsolator, container: &str) -> Option<u32> {
    status(isolator, container).cgroup_info.and_then(|info| info.net_cls?.classid)
}

fn remove(machine: &Machine, isolator: &CgroupsIsolator, container: &str) {
    let dir = machine.dir("net_cls", container);
    for name in ["cgroup.procs", "net_cls.classid"] {
        fs::remove_file(dir.join(name)).unwrap();
    }
    cleanup(isolator, container);
}

#[test]
fn a_handle_is_handed_out_written_told_recovered_and_taken_back() {
    let machine = Machine::posing("net_cls");
    let isolator = machine.isolator(CgroupsIsolator::net_cls, &HANDLES);
    let task = Task::start("read end");
    for container in ["a", "b"] {
        prepare(&isolator, container, asking(vec![], &[])).unwrap();
        files(&machine, container);
        task.isolate(&isolator, container);
    }
    assert_eq!(classid(&machine, "a"), 0x0012_0001.to_string());
    assert_eq!(told(&isolator, "b"), Some(0x0012_0002));
    let error = prepare(&isolator, "c", asking(vec![], &[])).unwrap_err();
    assert!(error.message.contains("in use"), "{error}");
    cleanup(&isolator, "c");

    drop(isolator);
    let reborn = machine.isolator(CgroupsIsolator::net_cls, &HANDLES);
    recover(&reborn, "b");
    assert_eq!(told(&reborn, "b"), Some(0x0012_0002));
    remove(&machine, &reborn, "a");
    prepare(&reborn, "c", asking(vec![], &[])).unwrap();
    assert_eq!(told(&reborn, "c"), Some(0x0012_0001), "that of `a` is free again");
    cleanup(&reborn, "c");
    remove(&machine, &reborn, "b");
}

#[test]
fn without_a_primary_handle_nothing_is_written_or_told() {
    let machine = Machine::posing("net_cls");
    let isolator = machine.isolator(CgroupsIsolator::net_cls, &[]);
    prepare(&isolator, "a", asking(vec![], &[])).unwrap();
    files(&machine, "a");
    let task = Task::start("read end");
    task.isolate(&isolator, "a");
    assert_eq!((classid(&machine, "a").as_str(), told(&isolator, "a")), ("0", None));
    remove(&machine, &isolator, "a");
}

#[test]
fn where_there_is_no_such_controller_that_is_said() {
    let machine = Machine::new();
    let message = machine.try_isolator(CgroupsIsolator::net_cls, &[]);
    if machine.is_v2() {
        let error = message.unwrap_err();
        assert!(error.message.contains("`cgroups/net_cls` needs cgroup version 1"), "{error}");
    } else if !machine.has("net_cls", "") {
        let error = message.unwrap_err();
        assert!(error.message.contains("needs the cgroup controller `net_cls`"), "{error}");
    }
    if !machine.has("net_cls", "") {
        let error = machine.try_isolator(CgroupsIsolator::all, &HANDLES).unwrap_err();
        let words = "parameter `cgroups_net_cls_primary_handle` is set, but";
        assert!(error.message.starts_with(words), "{error}");
    }
}
