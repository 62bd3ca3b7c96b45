//! The scheduler driver against a master that this test holds by its strings.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test"
)]

use std::time::Duration;

use mezzo_sdk::scheduler::{Event, Events};
use mezzo_sdk::testing::{FakeMaster, event, offer};
use mezzo_sdk::v1::scheduler::call::Type as CallType;
use mezzo_sdk::v1::scheduler::event::Type as EventType;
use mezzo_sdk::v1::{TaskState, task_status::Reason};
use mezzo_sdk::{Aborted, Framework, Handle, Packing, Scheduler, SchedulerDriver, Task, v1};
use tonic::Status;

fn driver(master: &FakeMaster) -> SchedulerDriver {
    SchedulerDriver::new(master.address(), Framework::new("test"))
        .backoff(Duration::from_millis(1), Duration::from_millis(20))
}

async fn next(events: &mut Events) -> Event {
    tokio::time::timeout(Duration::from_secs(20), events.next())
        .await
        .expect("an event in time")
        .expect("an event")
}

async fn subscribed(events: &mut Events) {
    assert!(matches!(next(events).await, Event::Subscribed(_)));
}

fn task_id(id: &str) -> v1::TaskId {
    v1::TaskId { value: id.to_owned() }
}

/// Launches one task and tears down when it has ended.
struct OneTask {
    id: &'static str,
    states: Vec<TaskState>,
}

impl Scheduler for OneTask {
    fn offers(&mut self, handle: &Handle, offers: Vec<v1::Offer>) {
        let mut packing = Packing::new(offers);
        packing.place(&Task::shell("true").id(self.id)).expect("the offer is large enough");
        packing.launch(handle);
    }

    fn status_update(&mut self, handle: &Handle, status: v1::TaskStatus) {
        self.states.push(status.state());
        if status.state() == TaskState::TaskFinished {
            handle.teardown();
        }
    }
}

#[tokio::test]
async fn a_task_goes_from_offer_to_acknowledged_update() {
    let master = FakeMaster::start().await.unwrap();
    let framework = tokio::spawn(driver(&master).run(OneTask { id: "t1", states: Vec::new() }));

    let subscribe = master.subscription().await;
    assert_eq!(subscribe.framework_info.name, "test");
    assert_eq!(subscribe.framework_info.id, None);
    master.offer([offer("o1", "a1", &[("cpus", 1.0), ("mem", 128.0)])]);
    let accept = master.accepted().await;
    assert_eq!(accept.offer_ids[0].value, "o1");
    let task = &accept.operations[0].launch.as_ref().unwrap().task_infos[0];
    assert_eq!(task.task_id.value, "t1");
    assert_eq!(task.agent_id.value, "a1");

    let running = master.update(task, TaskState::TaskRunning);
    assert_eq!(Some(master.acknowledged().await.uuid), running.uuid);
    let finished = master.update(task, TaskState::TaskFinished);
    assert_eq!(Some(master.acknowledged().await.uuid), finished.uuid, "before the teardown");
    master.gone().await;
    assert_eq!(master.kinds().last(), Some(&CallType::Teardown));

    let scheduler = framework.await.unwrap().unwrap();
    assert_eq!(scheduler.states, [TaskState::TaskRunning, TaskState::TaskFinished]);
    assert!(master.calls()[1..].iter().all(|call| call.framework_id.is_some()));
}

#[tokio::test]
async fn a_lost_connection_is_made_again_with_the_same_framework_id() {
    let master = FakeMaster::start().await.unwrap();
    let (handle, mut events) = driver(&master).start();
    master.subscription().await;
    subscribed(&mut events).await;
    let id = handle.framework_id();
    assert!(id.is_some() && handle.connected());

    master.disconnect();
    assert_eq!(next(&mut events).await, Event::Disconnected);
    let again = master.subscription().await;
    assert_eq!(again.framework_info.id, id);
    assert!(matches!(next(&mut events).await, Event::Reregistered(_)));
    assert_eq!(handle.framework_id(), id);
    handle.stop();
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_master_without_heartbeats_is_left() {
    let master = FakeMaster::with_heartbeats(Duration::from_millis(50)).await.unwrap();
    let (_handle, mut events) = driver(&master).missed_heartbeats(3).start();
    subscribed(&mut events).await;
    master.subscription().await;
    master.stop_heartbeats();
    assert_eq!(next(&mut events).await, Event::Disconnected);
    master.resume_heartbeats();
    master.subscription().await;
}

#[tokio::test]
async fn a_master_that_is_not_there_yet_is_waited_for() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let master = FakeMaster::start().await.unwrap();
    let masters = format!("{free},{}", master.address());
    let (_handle, mut events) = SchedulerDriver::new(masters, Framework::new("test"))
        .backoff(Duration::from_millis(1), Duration::from_millis(20))
        .start();
    subscribed(&mut events).await;
}

#[tokio::test]
async fn explicit_acknowledgements_are_left_to_the_scheduler() {
    let master = FakeMaster::start().await.unwrap();
    let (handle, mut events) = driver(&master).explicit_acknowledgements().start();
    master.subscription().await;
    subscribed(&mut events).await;
    let task = v1::TaskInfo { task_id: task_id("t1"), ..Default::default() };
    let first = master.update(&task, TaskState::TaskRunning);
    let second = master.update(&task, TaskState::TaskFinished);
    next(&mut events).await;
    let Event::Update(status) = next(&mut events).await else { panic!("an update") };
    assert_eq!(*status, second);
    // Only the second is acknowledged: the first of all acknowledgements is the second's.
    handle.acknowledge(&status);
    assert_eq!(Some(master.acknowledged().await.uuid), second.uuid);
    assert_ne!(first.uuid, second.uuid);
}

#[tokio::test]
async fn an_update_without_uuid_is_never_acknowledged() {
    let master = FakeMaster::start().await.unwrap();
    let (handle, mut events) = driver(&master).start();
    master.subscription().await;
    subscribed(&mut events).await;
    master.status(v1::TaskStatus {
        task_id: task_id("t1"),
        state: TaskState::TaskLost.into(),
        agent_id: Some(v1::AgentId { value: "a1".to_owned() }),
        reason: Some(Reason::Reconciliation.into()),
        ..Default::default()
    });
    next(&mut events).await;
    handle.stop();
    assert_eq!(events.next().await, None);
    master.gone().await;
    assert_eq!(master.kinds(), [CallType::Subscribe]);
}

#[tokio::test]
async fn an_error_event_aborts_the_driver() {
    let master = FakeMaster::start().await.unwrap();
    let framework = tokio::spawn(driver(&master).run(OneTask { id: "t1", states: Vec::new() }));
    master.subscription().await;
    master.error("Framework has been removed");
    let error = framework.await.unwrap().map(|_| ()).unwrap_err();
    assert_eq!(error, Aborted("Framework has been removed".to_owned()));
}

#[tokio::test]
async fn a_refused_subscription_ends_the_driver_but_a_busy_master_does_not() {
    let master = FakeMaster::start().await.unwrap();
    master.refuse_next(Status::unavailable("recovering"));
    let (_handle, mut events) = driver(&master).start();
    subscribed(&mut events).await;

    master.refuse_next(Status::invalid_argument("framework_info.name: must not be empty"));
    master.disconnect();
    assert_eq!(next(&mut events).await, Event::Disconnected);
    let refused = Event::Error("framework_info.name: must not be empty".to_owned());
    assert_eq!(next(&mut events).await, refused);
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_launch_while_disconnected_comes_back_as_dropped() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (handle, mut events) =
        SchedulerDriver::new(free.to_string(), Framework::new("test")).start();
    let task = v1::TaskInfo { task_id: task_id("t1"), ..Default::default() };
    handle.launch([v1::OfferId { value: "old".to_owned() }], vec![task]);
    let Event::Update(status) = next(&mut events).await else { panic!("an update") };
    assert_eq!(status.task_id, task_id("t1"));
    assert_eq!(status.state(), TaskState::TaskDropped);
    assert_eq!(status.reason(), Reason::MasterDisconnected);
}

#[tokio::test]
async fn kills_and_suppressed_roles_wait_for_the_next_subscription() {
    let master = FakeMaster::start().await.unwrap();
    let (handle, mut events) = driver(&master).start();
    master.subscription().await;
    subscribed(&mut events).await;
    master.refuse_next(Status::unavailable("not yet"));
    master.disconnect();
    assert_eq!(next(&mut events).await, Event::Disconnected);
    handle.kill(task_id("t1"));
    handle.decline([v1::OfferId { value: "o1".to_owned() }], None);
    handle.suppress([]);
    let mut suppressed = Vec::new();
    while suppressed.is_empty() {
        suppressed = master.subscription().await.suppressed_roles;
    }
    assert_eq!(suppressed, ["*"]);
    let killed = master.next("a kill", |call| call.kill.clone()).await;
    assert_eq!(killed.task_id, task_id("t1"));
    assert!(!master.kinds().contains(&CallType::Decline), "void offers need no decline");
}

#[tokio::test]
async fn every_event_reaches_its_callback() {
    #[derive(Default)]
    struct Log(Vec<&'static str>);
    impl Scheduler for Log {
        fn offers(&mut self, _: &Handle, _: Vec<v1::Offer>) {
            self.0.push("offers");
        }
        fn status_update(&mut self, _: &Handle, _: v1::TaskStatus) {
            self.0.push("status_update");
        }
        fn rescinded(&mut self, _: &Handle, _: v1::OfferId) {
            self.0.push("rescinded");
        }
        fn message(&mut self, _: &Handle, _: v1::AgentId, _: v1::ExecutorId, data: bytes::Bytes) {
            assert_eq!(&data[..], b"hi");
            self.0.push("message");
        }
        fn failure(&mut self, handle: &Handle, failure: v1::scheduler::event::Failure) {
            assert_eq!(failure.status, Some(9));
            self.0.push("failure");
            handle.stop();
        }
    }
    let master = FakeMaster::start().await.unwrap();
    let framework = tokio::spawn(driver(&master).run(Log::default()));
    master.subscription().await;
    master.offer([offer("o1", "a1", &[])]);
    master.rescind("o1");
    master.update(&v1::TaskInfo::default(), TaskState::TaskRunning);
    let message = v1::scheduler::event::Message { data: "hi".into(), ..Default::default() };
    master.send(v1::scheduler::Event { message: Some(message), ..event(EventType::Message) });
    let failure = v1::scheduler::event::Failure { status: Some(9), ..Default::default() };
    master.send(v1::scheduler::Event { failure: Some(failure), ..event(EventType::Failure) });
    let log = framework.await.unwrap().unwrap();
    assert_eq!(log.0, ["offers", "rescinded", "status_update", "message", "failure"]);
}

#[tokio::test]
async fn messages_go_both_ways_while_the_scheduler_is_busy() {
    let master = FakeMaster::start().await.unwrap();
    let (handle, mut events) = driver(&master).start();
    master.subscription().await;
    subscribed(&mut events).await;
    // More than any queue on the way holds; nobody reads events meanwhile.
    for number in 0..2_000 {
        handle.message(
            v1::AgentId { value: "a1".to_owned() },
            v1::ExecutorId { value: "e1".to_owned() },
            number.to_string(),
        );
        master
            .status(v1::TaskStatus { task_id: task_id(&number.to_string()), ..Default::default() });
    }
    master
        .next("the last message", |call| {
            call.message.as_ref().filter(|message| message.data == "1999").map(|_| ())
        })
        .await;
    for number in 0..2_000 {
        let Event::Update(status) = next(&mut events).await else { panic!("an update") };
        assert_eq!(status.task_id, task_id(&number.to_string()));
    }
}
