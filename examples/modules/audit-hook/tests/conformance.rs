//! Every MUST of a hook, linked in and loaded from the library; and what this one promises beside them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use example_audit_hook::Audit;
use mezzo_module_api::types::{TaskId, TaskState, TaskStatus};
use mezzo_module_api::v1::AgentTaskStatusRequest;
use mezzo_module_api::{Hook, Host, Parameters};
use mezzo_module_testkit::Subject;

mod linked_in {
    mezzo_module_testkit::hook_tests!(
        super::Subject::hook("example/audit", example_audit_hook::Audit::new)
            .directory("file", "audit.jsonl")
    );
}

mod loaded {
    mezzo_module_testkit::hook_tests!(
        super::Subject::built("example_audit_hook", "example/audit")
            .directory("file", "audit.jsonl")
    );
}

fn status(task: &str) -> AgentTaskStatusRequest {
    let status = TaskStatus {
        task_id: TaskId { value: task.into() },
        state: TaskState::TaskRunning.into(),
        ..TaskStatus::default()
    };
    AgentTaskStatusRequest { status: Some(status), ..AgentTaskStatusRequest::default() }
}

#[test]
fn every_event_is_a_line_and_none_is_lost_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("made/audit.jsonl");
    let path = file.display().to_string();
    let hook = Audit::new(Host::silent(), Parameters::from_pairs(&[("file", &path)])).unwrap();
    for number in 0..500 {
        hook.agent_task_status(status(&format!("task \"{number}\"\n"))).unwrap();
    }
    drop(hook);
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 500);
    let last = lines.last().unwrap();
    assert_eq!(last.get("task").unwrap(), "task \"499\"\n");
    assert_eq!(last.get("state").unwrap(), "TASK_RUNNING");
    assert!(last.get("message").is_none(), "{last}");
}

#[test]
fn a_file_that_was_moved_away_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    let path = file.display().to_string();
    let hook = Audit::new(Host::silent(), Parameters::from_pairs(&[("file", &path)])).unwrap();
    let lines = || std::fs::read_to_string(&file).unwrap_or_default().lines().count();
    hook.agent_task_status(status("one")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while lines() == 0 {
        assert!(Instant::now() < deadline, "the line is written");
        std::thread::yield_now();
    }
    std::fs::rename(&file, dir.path().join("audit.jsonl.1")).unwrap();
    hook.agent_task_status(status("two")).unwrap();
    drop(hook);
    assert_eq!(lines(), 1);
}

#[test]
fn a_file_that_cannot_be_opened_is_told_at_the_start() {
    let error = Audit::new(Host::silent(), Parameters::from_pairs(&[("file", "/proc/no/such")]));
    let message = error.unwrap_err().message;
    assert!(message.starts_with("parameter `file` is `/proc/no/such`"), "{message}");
    let error = Audit::new(Host::silent(), Parameters::default()).unwrap_err();
    assert_eq!(error.message, "parameter `file` is missing, expected a path");
}
