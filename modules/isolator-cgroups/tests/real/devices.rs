//! `cgroups/devices`: the files of version 1, the program of version 2.

use mezzo_isolator_cgroups::CgroupsIsolator;

use crate::calls::{asking, cleanup, prepare, recover};
use crate::machine::{Machine, Task};

/// Tries what every container may do, and what none may unless it is allowed: the kernel's log is a device of every machine.
const SCRIPT: &str = "\
try() { (eval \": $1\") 2> /dev/null && echo \"$1 yes\" || echo \"$1 no\"; }
try '< /dev/null'; try '> /dev/null'; try '< /dev/urandom'; try '< /dev/kmsg'; try '> /dev/kmsg'";

const NOTHING_MORE: &str = "\
< /dev/null yes
> /dev/null yes
< /dev/urandom yes
< /dev/kmsg no
> /dev/kmsg no
";

const READS_THE_LOG: &str = "\
< /dev/null yes
> /dev/null yes
< /dev/urandom yes
< /dev/kmsg yes
> /dev/kmsg no
";

const KMSG: &str =
    r#"{"allowed_devices":[{"device":{"path":"/dev/kmsg"},"access":{"read":true}}]}"#;

fn only_what_is_allowed_can_be_opened(machine: &Machine) {
    let isolator = machine.isolator(CgroupsIsolator::devices, &[]);
    prepare(&isolator, "c", asking(vec![], &[])).unwrap();
    assert_eq!(Task::start(SCRIPT).run_in(&isolator, "c"), NOTHING_MORE);
    let more = machine.isolator(CgroupsIsolator::devices, &[("allowed_devices", KMSG)]);
    prepare(&more, "d", asking(vec![], &[])).unwrap();
    assert_eq!(Task::start(SCRIPT).run_in(&more, "d"), READS_THE_LOG);

    // Containers outlive the agent, and so do their rules.
    drop((isolator, more));
    let reborn = machine.isolator(CgroupsIsolator::devices, &[]);
    for (container, expected) in [("c", NOTHING_MORE), ("d", READS_THE_LOG)] {
        recover(&reborn, container);
        assert_eq!(Task::start(SCRIPT).run_in(&reborn, container), expected);
        cleanup(&reborn, container);
    }
    assert!(!machine.logged(&["without device rules"]));
}

#[test]
fn only_what_is_allowed_can_be_opened_here() {
    only_what_is_allowed_can_be_opened(&Machine::new());
}

#[test]
fn only_what_is_allowed_can_be_opened_in_version_2() {
    only_what_is_allowed_can_be_opened(&Machine::unified());
}

#[test]
fn a_container_that_was_started_without_rules_is_told_about() {
    let machine = Machine::unified();
    std::fs::create_dir_all(machine.dir("", "old/leaf")).unwrap();
    let isolator = machine.isolator(CgroupsIsolator::devices, &[]);
    recover(&isolator, "old");
    assert!(machine.logged(&["container `old`", "without device rules"]));
    cleanup(&isolator, "old");
}
