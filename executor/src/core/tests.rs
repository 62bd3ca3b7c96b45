//! Grace periods, races and final states, with a clock of their own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use mezzo_proto::v1::framework_info;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn id() -> TaskId {
    TaskId { value: "t".to_owned() }
}

fn task() -> TaskInfo {
    TaskInfo {
        task_id: id(),
        command: Some(CommandInfo { value: Some("true".to_owned()), ..CommandInfo::default() }),
        ..TaskInfo::default()
    }
}

fn policy(seconds: i64) -> KillPolicy {
    KillPolicy { grace_period: Some(DurationInfo { nanoseconds: seconds * 1_000_000_000 }) }
}

fn running(task: &TaskInfo, now: Instant) -> Core {
    let mut core = Core::new(5 * SECOND, Some(60 * SECOND), now);
    core.subscribed(&FrameworkInfo::default());
    let actions = core.launch(task);
    assert!(matches!(
        &actions[..],
        [Action::Report(Report { state: TaskState::TaskStarting, .. }), Action::Start(_)]
    ));
    assert_eq!(states(&core.started(Ok(()), now)), [TaskState::TaskRunning]);
    core
}

fn states(actions: &[Action]) -> Vec<TaskState> {
    actions
        .iter()
        .filter_map(|a| if let Action::Report(r) = a { Some(r.state) } else { None })
        .collect()
}

#[test]
fn the_exit_status_decides_between_finished_and_failed() {
    let now = Instant::now();
    assert_eq!(states(&running(&task(), now).ended(Exit::Code(0), now)), [TaskState::TaskFinished]);
    assert_eq!(states(&running(&task(), now).ended(Exit::Code(1), now)), [TaskState::TaskFailed]);
    assert_eq!(
        states(&running(&task(), now).ended(Exit::Signal { number: 11, core: false }, now)),
        [TaskState::TaskFailed]
    );
}

#[test]
fn a_killed_task_is_killed_whatever_its_exit_status() {
    let now = Instant::now();
    let mut core = running(&task(), now);
    assert_eq!(core.kill(&id(), None, now), [Action::Terminate]);
    let actions = core.ended(Exit::Code(0), now);
    assert_eq!(actions[0], Action::Kill, "children that are left do not stay");
    assert_eq!(states(&actions), [TaskState::TaskKilled]);
}

#[test]
fn the_grace_comes_from_the_event_then_the_task_then_the_default() {
    let now = Instant::now();
    let mut core = running(&task(), now);
    core.kill(&id(), None, now);
    assert_eq!(core.next_tick(), Some(now + 3 * SECOND));

    let patient = TaskInfo { kill_policy: Some(policy(20)), ..task() };
    let mut core = running(&patient, now);
    core.kill(&id(), None, now);
    assert_eq!(core.next_tick(), Some(now + 20 * SECOND));

    let mut core = running(&patient, now);
    core.kill(&id(), Some(&policy(1)), now);
    assert_eq!(core.next_tick(), Some(now + SECOND));
}

#[test]
fn sigkill_follows_the_grace_and_is_repeated() {
    let now = Instant::now();
    let mut core = running(&task(), now);
    core.kill(&id(), None, now);
    assert_eq!(core.tick(now + 2 * SECOND), []);
    assert_eq!(core.tick(now + 3 * SECOND), [Action::Kill]);
    assert_eq!(core.tick(now + 4 * SECOND), [Action::Kill]);
}

#[test]
fn repeated_kills_only_shrink_the_grace() {
    let now = Instant::now();
    let mut core = running(&task(), now);
    core.kill(&id(), Some(&policy(20)), now);
    assert_eq!(
        core.kill(&id(), Some(&policy(5)), now + 10 * SECOND),
        [Action::Kill],
        "5 s after the first kill are over"
    );
    assert_eq!(core.kill(&id(), Some(&policy(30)), now + 10 * SECOND), [], "never longer");

    let mut core = running(&task(), now);
    core.kill(&id(), Some(&policy(20)), now);
    core.kill(&id(), Some(&policy(15)), now + SECOND);
    assert_eq!(core.next_tick(), Some(now + 15 * SECOND));
}

#[test]
fn killing_is_reported_to_frameworks_that_know_it() {
    let now = Instant::now();
    let mut core = running(&task(), now);
    core.subscribed(&FrameworkInfo {
        capabilities: vec![framework_info::Capability {
            r#type: Some(Capability::TaskKillingState.into()),
        }],
        ..FrameworkInfo::default()
    });
    let actions = core.kill(&id(), None, now);
    assert_eq!(states(&actions), [TaskState::TaskKilling]);
    assert_eq!(actions[1], Action::Terminate);
}

#[test]
fn a_task_that_runs_too_long_fails_with_its_reason() {
    let now = Instant::now();
    let limited = TaskInfo {
        max_completion_time: Some(DurationInfo { nanoseconds: 2_000_000_000 }),
        ..task()
    };
    let mut core = running(&limited, now);
    assert_eq!(core.next_tick(), Some(now + 2 * SECOND));
    assert_eq!(core.tick(now + 2 * SECOND), [Action::Terminate, Action::Kill]);
    let actions = core.ended(Exit::Signal { number: 9, core: false }, now + 2 * SECOND);
    let [.., Action::Report(last)] = &actions[..] else { panic!("no report") };
    assert_eq!(
        (last.state, last.reason),
        (TaskState::TaskFailed, Some(Reason::MaxCompletionTimeReached))
    );
}

#[test]
fn shutdown_leaves_time_to_report_before_the_agent_destroys_the_container() {
    let now = Instant::now();
    let mut core = running(&task(), now);
    assert_eq!(core.shutdown(now), [Action::Terminate]);
    assert_eq!(core.next_tick(), Some(now + 3 * SECOND));
    core.ended(Exit::Code(0), now + SECOND);
    assert_eq!(core.tick(now + 3 * SECOND), [Action::Exit]);
}

#[test]
fn shutdown_without_a_task_ends_at_once() {
    let now = Instant::now();
    let mut core = Core::new(5 * SECOND, None, now);
    assert_eq!(core.shutdown(now), [Action::Exit]);
}

#[test]
fn the_last_update_is_waited_for_and_no_longer() {
    let now = Instant::now();
    let mut core = running(&task(), now);
    core.ended(Exit::Code(0), now);
    assert_eq!(core.next_tick(), Some(now + 60 * SECOND));
    assert_eq!(core.last_update_acknowledged(&id()), [Action::Exit]);
}

#[test]
fn the_agent_may_be_away_for_the_recovery_timeout() {
    let now = Instant::now();
    let mut core = running(&task(), now);
    assert_eq!(core.disconnected(now), []);
    assert_eq!(
        core.disconnected(now + SECOND),
        [],
        "a failed attempt does not start the time again"
    );
    assert_eq!(core.next_tick(), Some(now + 60 * SECOND));
    core.subscribed(&FrameworkInfo::default());
    assert_eq!(core.next_tick(), None);

    core.disconnected(now);
    assert_eq!(core.tick(now + 60 * SECOND), [Action::Terminate]);
    core.ended(Exit::Code(0), now + 61 * SECOND);
    assert_eq!(core.tick(now + 61 * SECOND), [Action::Exit], "nobody is there to acknowledge");
}

#[test]
fn without_checkpointing_the_task_ends_with_the_agent() {
    let now = Instant::now();
    let mut core = Core::new(5 * SECOND, None, now);
    core.subscribed(&FrameworkInfo::default());
    core.launch(&task());
    core.started(Ok(()), now);
    assert_eq!(core.disconnected(now), [Action::Terminate]);
}

#[test]
fn a_second_task_fails_and_a_repeated_one_is_ignored() {
    let now = Instant::now();
    let mut core = running(&task(), now);
    assert_eq!(core.launch(&task()), []);
    let other = TaskInfo { task_id: TaskId { value: "u".to_owned() }, ..task() };
    assert_eq!(states(&core.launch(&other)), [TaskState::TaskFailed]);
    assert_eq!(core.last_update_acknowledged(&other.task_id), [], "ours goes on");
    assert_eq!(core.kill(&other.task_id, None, now), []);
}

#[test]
fn absurd_durations_do_not_overflow() {
    let now = Instant::now();
    let endless = TaskInfo {
        max_completion_time: Some(DurationInfo { nanoseconds: i64::MAX }),
        kill_policy: Some(policy(-5)),
        ..task()
    };
    let mut core = running(&endless, now);
    assert_eq!(
        core.kill(&id(), None, now),
        [Action::Terminate, Action::Kill],
        "a negative grace is none"
    );
}

#[test]
fn the_first_subscription_is_tried_for_a_minute() {
    let now = Instant::now();
    let mut core = Core::new(5 * SECOND, None, now);
    assert_eq!(core.disconnected(now), []);
    assert_eq!(core.next_tick(), Some(now + 60 * SECOND));
    assert_eq!(core.tick(now + 60 * SECOND), [Action::NoAgent]);
}

#[test]
fn a_sigkill_nobody_asked_for_leaves_time_for_the_agent_to_say_why() {
    let now = Instant::now();
    let mut core = running(&task(), now);
    let killed = Exit::Signal { number: 9, core: false };
    assert_eq!(core.ended(killed, now), []);
    let at = core.next_tick().unwrap();
    assert!(at > now && at < now + SECOND);
    assert_eq!(core.kill(&id(), None, now), [], "it has ended");
    assert_eq!(core.tick(now), []);
    assert_eq!(states(&core.tick(at)), [TaskState::TaskFailed]);
    assert_eq!(core.tick(at), []);
    assert_eq!(core.next_tick(), Some(at + 60 * SECOND));
}
