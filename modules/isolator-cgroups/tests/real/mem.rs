//! `cgroups/mem`.

use mezzo_isolator_cgroups::CgroupsIsolator;
use mezzo_module_api::Isolator;
use mezzo_module_api::v1::{ContainerState, RecoverRequest};
use mezzo_proto::v1::TaskInfo;
use mezzo_proto::v1::task_status::Reason;

use crate::calls::{cleanup, config, id, prepare, update, usage, watch};
use crate::machine::{Machine, PATIENCE, Task, wait_until};

const MEGABYTE: u64 = 1024 * 1024;

#[test]
fn a_container_over_its_memory_ends_with_reason_message_and_amount() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::mem, &[]);
    prepare(&isolator, "c", config(0.1, 40.0, &[])).unwrap();
    let mut task = Task::start("exec tail /dev/zero");
    let limitation = watch(&isolator, "c");
    task.isolate(&isolator, "c");
    task.go();
    let limitation = limitation.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(limitation.reason(), Reason::ContainerLimitationMemory);
    assert!(
        limitation.message().starts_with("Memory limit exceeded: Requested: 40MB"),
        "{}",
        limitation.message()
    );
    let mem = limitation.resources.first().unwrap();
    let used = mem.scalar.as_ref().unwrap().value;
    assert!(mem.name == "mem" && (35.0..=41.0).contains(&used), "{used}");
    cleanup(&isolator, "c");
}

#[test]
fn an_event_before_anybody_watches_is_not_lost() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::mem, &[]);
    prepare(&isolator, "c", config(0.1, 32.0, &[])).unwrap();
    let mut task = Task::start("exec tail /dev/zero");
    task.isolate(&isolator, "c");
    task.go();
    task.wait();
    watch(&isolator, "c").recv_timeout(PATIENCE).unwrap().unwrap();
    cleanup(&isolator, "c");
}

#[test]
fn a_watch_ends_without_an_answer_when_the_container_is_cleaned_up() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::mem, &[]);
    prepare(&isolator, "c", config(0.1, 32.0, &[])).unwrap();
    let watching = watch(&isolator, "c");
    cleanup(&isolator, "c");
    assert!(watching.recv_timeout(PATIENCE).is_err());
}

#[test]
fn the_memory_limit_rises_and_never_falls() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::mem, &[]);
    let hard = || machine.read("memory", "c", "memory.limit_in_bytes", "memory.max");
    let soft = || machine.read("memory", "c", "memory.soft_limit_in_bytes", "memory.low");
    let bytes = |megabytes: u64| (megabytes * MEGABYTE).to_string();
    prepare(&isolator, "c", config(0.1, 64.0, &[])).unwrap();
    assert_eq!((soft(), hard()), (bytes(64), bytes(64)));
    update(&isolator, "c", &config(0.1, 16.0, &[])).unwrap();
    assert_eq!(
        (soft(), hard()),
        (bytes(32), bytes(64)),
        "the floor is 32 MB, the hard limit stays"
    );
    update(&isolator, "c", &config(0.1, 64.0, &[("mem", 100.9)])).unwrap();
    assert_eq!((soft(), hard()), (bytes(64), bytes(100)), "limits are whole megabytes");

    // A new life of the agent: the first update is not the container's first.
    let reborn = machine.isolator(CgroupsIsolator::mem, &[]);
    let state = ContainerState { container_id: id("c"), ..ContainerState::default() };
    reborn.recover(RecoverRequest { states: vec![state], orphans: vec![] }).unwrap();
    assert_eq!(usage(&reborn, "c").mem_limit_bytes, None, "not known before the first update");
    update(&reborn, "c", &config(0.1, 50.0, &[])).unwrap();
    assert_eq!((soft(), hard()), (bytes(50), bytes(100)));
    assert_eq!(
        usage(&reborn, "c").mem_limit_bytes(),
        50 * MEGABYTE,
        "what was asked for is told, not what the cgroup holds"
    );
    cleanup(&reborn, "c");
}

#[test]
fn memory_statistics_are_the_cgroups() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::mem, &[]);
    prepare(&isolator, "c", config(0.1, 64.0, &[("mem", f64::INFINITY)])).unwrap();
    let mut task = Task::start("x=$(head -c 4000000 /dev/zero | tr '\\0' x); read end");
    task.isolate(&isolator, "c");
    task.go();
    wait_until("memory", || usage(&isolator, "c").mem_rss_bytes() > 3 * MEGABYTE);
    let used = usage(&isolator, "c");
    assert_eq!(used.mem_rss_bytes, used.mem_anon_bytes);
    assert_eq!(used.mem_cache_bytes, used.mem_file_bytes);
    assert!(used.mem_total_bytes() >= used.mem_rss_bytes());
    assert_eq!(used.mem_soft_limit_bytes(), 64 * MEGABYTE);
    assert!(used.mem_limit_bytes() > 256 * MEGABYTE, "no limit is the machine's memory");
    cleanup(&isolator, "c");
}

#[test]
fn memory_pressure_is_counted_where_the_kernel_tells_it() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::mem, &[]);
    prepare(&isolator, "c", config(0.1, 32.0, &[])).unwrap();
    let low = || usage(&isolator, "c").mem_low_pressure_counter;
    if machine.is_v2() {
        assert_eq!(low(), None);
    } else {
        assert_eq!(low(), Some(0));
        // Files that do not fit are dropped from memory again, which is pressure.
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = file.path().display();
        let script = format!("while :; do head -c 64000000 /dev/zero > {path}; done");
        let mut task = Task::start(&script);
        task.isolate(&isolator, "c");
        task.go();
        wait_until("pressure", || low() > Some(0));
        let before = low();
        wait_until("more pressure", || low() > before);
        let used = usage(&isolator, "c");
        assert!(used.mem_low_pressure_counter() >= used.mem_medium_pressure_counter());
        assert!(used.mem_critical_pressure_counter.is_some());
    }
    cleanup(&isolator, "c");
}

#[test]
fn swap_is_limited_with_memory_in_version_1_only() {
    let machine = Machine::new();
    let limit_swap = [("cgroups_limit_swap", "true")];
    if machine.is_v2() {
        let error = machine.try_isolator(CgroupsIsolator::mem, &limit_swap).unwrap_err();
        assert!(error.message.contains("version 2"), "{error}");
        return;
    }
    let isolator = machine.isolator(CgroupsIsolator::mem, &limit_swap);
    prepare(&isolator, "c", config(0.1, 64.0, &[])).unwrap();
    let both = || machine.read("memory", "c", "memory.memsw.limit_in_bytes", "");
    assert_eq!(both(), (64 * MEGABYTE).to_string());
    update(&isolator, "c", &config(0.1, 96.0, &[])).unwrap();
    assert_eq!(both(), (96 * MEGABYTE).to_string());
    assert!(usage(&isolator, "c").mem_total_memsw_bytes.is_some());
    cleanup(&isolator, "c");
}

#[test]
fn a_task_that_may_have_more_than_it_asked_for_is_the_first_to_go() {
    let machine = Machine::new();
    let isolator = machine.isolator(CgroupsIsolator::mem, &[]);
    let mut asked = config(0.1, 64.0, &[("mem", 128.0)]);
    asked.task_info = Some(TaskInfo::default());
    prepare(&isolator, "burst", asked).unwrap();
    prepare(&isolator, "plain", config(0.1, 64.0, &[])).unwrap();
    let score = |container| {
        let task = Task::start("read end");
        task.isolate(&isolator, container);
        let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", task.pid()));
        score.unwrap().trim().parse::<i32>().unwrap()
    };
    let ours: i32 =
        std::fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    assert_eq!(score("plain"), ours);
    if machine.is_v2() {
        assert_eq!(score("burst"), ours);
    } else {
        assert!((900..1000).contains(&score("burst")), "{}", score("burst"));
    }
    cleanup(&isolator, "burst");
    cleanup(&isolator, "plain");
}
