//! A stage for the agent's core: says things to it in one line each and finds what it does.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::panic, reason = "a failing test may panic")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use mezzo_agent_core::{
    Agent, Checkpoint, Command, Effect, ExecutorCall, History, Now, Recovered, Settings,
    Termination, apply,
};
use mezzo_model::{ContainerId, ExecutorId, FrameworkId};
use mezzo_proto::state::v1::RunRecord;
use mezzo_proto::v1::executor::{Event, call, event};
use mezzo_proto::v1::framework_info::Capability;
use mezzo_proto::v1::framework_info::capability::Type as Can;
use mezzo_proto::v1::link::{self, from_agent, from_master};
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::{
    self, AgentInfo, CommandInfo, ExecutorInfo, FrameworkInfo, TaskInfo, TaskState, TaskStatus,
};

pub const AGENT: &str = "m-S1";
pub const FRAMEWORK: &str = "m-0001";

pub struct Scene {
    pub agent: Agent,
    pub at: Duration,
    pub launch_executor: bool,
    pub framework: FrameworkInfo,
}

pub fn settings() -> Settings {
    Settings {
        info: AgentInfo { hostname: "host".to_owned(), port: Some(5051), ..AgentInfo::default() },
        version: "1.0.0".to_owned(),
        capabilities: Vec::new(),
        ip: "127.0.0.1".to_owned(),
        endpoint: "127.0.0.1:5051".to_owned(),
        work_dir: "/work".to_owned(),
        command_executor: "/opt/mezzo-executor".to_owned(),
        switch_user: false,
        executor_environment: BTreeMap::new(),
        executor_registration_timeout: Duration::from_secs(60),
        executor_reregistration_timeout: Duration::from_secs(2),
        executor_shutdown_grace_period: Duration::from_secs(5),
        recovery_timeout: Duration::from_secs(900),
        decorate_tasks: false,
        decorate_statuses: false,
        history: History::default(),
        seed: [1, 2],
    }
}

impl Scene {
    /// An agent that is registered with a master.
    pub fn registered() -> Self {
        Self::with(settings())
    }

    pub fn with(settings: Settings) -> Self {
        let mut scene = Self::unborn(settings);
        scene.say(Command::Recovered(Box::default()));
        scene.say(Command::ContainersRecovered);
        scene.register();
        scene
    }

    /// An agent that has not recovered.
    pub fn unborn(settings: Settings) -> Self {
        let capabilities = vec![Capability { r#type: Some(Can::PartitionAware.into()) }];
        let framework = FrameworkInfo {
            user: "alice".to_owned(),
            name: "test".to_owned(),
            id: Some(v1::FrameworkId { value: FRAMEWORK.to_owned() }),
            checkpoint: Some(true),
            capabilities,
            ..FrameworkInfo::default()
        };
        Self {
            agent: Agent::new(settings),
            at: Duration::from_secs(1000),
            launch_executor: true,
            framework,
        }
    }

    /// An agent that finds this on disk.
    pub fn recovering(recovered: Recovered) -> (Self, Vec<Effect>) {
        let mut scene = Self::unborn(Settings { seed: [7, 8], ..settings() });
        let effects = scene.say(Command::Recovered(Box::new(recovered)));
        (scene, effects)
    }

    pub fn say(&mut self, command: Command) -> Vec<Effect> {
        apply(&mut self.agent, command, Now { wall: 1.5e9 + self.at.as_secs_f64(), at: self.at })
    }

    pub fn master(&mut self, message: from_master::Message) -> Vec<Effect> {
        self.say(Command::FromMaster(Box::new(message)))
    }

    pub fn register(&mut self) -> Vec<Effect> {
        self.say(Command::LinkUp);
        self.registered_with(Vec::new())
    }

    pub fn registered_with(&mut self, reconcile: Vec<link::ReconcileTask>) -> Vec<Effect> {
        self.master(from_master::Message::Registered(link::Registered {
            agent_id: v1::AgentId { value: AGENT.to_owned() },
            ping_timeout_ms: 75_000,
            reconcile,
        }))
    }

    pub fn pass(&mut self, time: Duration) -> Vec<Effect> {
        self.at += time;
        self.say(Command::Tick)
    }

    pub fn run(&mut self, task: TaskInfo) -> Vec<Effect> {
        self.master(from_master::Message::RunTask(link::RunTask {
            framework_info: self.framework.clone(),
            task,
            launch_executor: self.launch_executor,
        }))
    }

    pub fn run_group(&mut self, executor: &str, tasks: Vec<TaskInfo>) -> Vec<Effect> {
        self.master(from_master::Message::RunTaskGroup(link::RunTaskGroup {
            framework_info: self.framework.clone(),
            executor: executor_info(executor),
            task_group: v1::TaskGroupInfo { tasks },
            launch_executor: self.launch_executor,
        }))
    }

    pub fn kill(&mut self, task: &str) -> Vec<Effect> {
        self.master(from_master::Message::KillTask(link::KillTask {
            framework_id: framework_id(),
            task_id: task_id(task),
            kill_policy: None,
        }))
    }

    pub fn acknowledge(&mut self, task: &str, uuid: &Bytes) -> Vec<Effect> {
        self.master(from_master::Message::Acknowledge(link::Acknowledge {
            framework_id: framework_id(),
            task_id: task_id(task),
            uuid: uuid.clone(),
        }))
    }

    pub fn shut_down_framework(&mut self) -> Vec<Effect> {
        let framework_id = framework_id();
        self.master(from_master::Message::ShutdownFramework(link::ShutdownFramework {
            framework_id,
        }))
    }

    pub fn executor(&mut self, session: u64, executor: &str, call: ExecutorCall) -> Vec<Effect> {
        self.say(Command::Executor {
            session,
            framework: FrameworkId::new(FRAMEWORK),
            executor: ExecutorId::new(executor),
            call,
        })
    }

    pub fn subscribe(&mut self, session: u64, executor: &str) -> Vec<Effect> {
        self.executor(session, executor, ExecutorCall::Subscribe(call::Subscribe::default()))
    }

    pub fn update(&mut self, session: u64, executor: &str, status: TaskStatus) -> Vec<Effect> {
        self.executor(session, executor, ExecutorCall::Update(call::Update { status }))
    }

    pub fn ended(&mut self, container: &ContainerId, termination: Termination) -> Vec<Effect> {
        self.say(Command::ContainerEnded { container: container.clone(), termination })
    }

    /// Says that the containers were changed as asked.
    pub fn changed(&mut self, effects: &[Effect]) -> Vec<Effect> {
        let asked: Vec<(ContainerId, u64)> = effects
            .iter()
            .filter_map(|e| match e {
                Effect::Update { container, token, .. } => Some((container.clone(), *token)),
                _ => None,
            })
            .collect();
        assert!(!asked.is_empty(), "no change of a container was asked for: {effects:?}");
        let answers = asked.into_iter().flat_map(|(container, token)| {
            self.say(Command::ContainerUpdated { container, token, result: Ok(()) })
        });
        answers.collect()
    }

    /// A command task that its executor has.
    pub fn running_command_task(&mut self, task: &str, session: u64) -> ContainerId {
        let container = launched(&self.run(command_task(task)));
        self.say(Command::ContainerLaunched { container: container.clone(), result: Ok(()) });
        self.subscribe(session, task);
        container
    }

    /// A task of a custom executor that has it.
    pub fn running_custom_task(&mut self, task: &str, executor: &str, session: u64) -> ContainerId {
        let container = launched(&self.run(custom_task(task, executor)));
        self.say(Command::ContainerLaunched { container: container.clone(), result: Ok(()) });
        self.subscribe(session, executor);
        container
    }
}

pub fn framework_id() -> v1::FrameworkId {
    v1::FrameworkId { value: FRAMEWORK.to_owned() }
}

pub fn task_id(id: &str) -> v1::TaskId {
    v1::TaskId { value: id.to_owned() }
}

pub fn scalar(name: &str, value: f64) -> v1::Resource {
    v1::Resource {
        name: name.to_owned(),
        r#type: v1::value::Type::Scalar.into(),
        scalar: Some(v1::value::Scalar { value }),
        ..v1::Resource::default()
    }
}

pub fn command_task(id: &str) -> TaskInfo {
    TaskInfo {
        name: id.to_owned(),
        task_id: task_id(id),
        agent_id: v1::AgentId { value: AGENT.to_owned() },
        resources: vec![scalar("cpus", 1.0), scalar("mem", 64.0)],
        command: Some(CommandInfo { value: Some("sleep 1".to_owned()), ..CommandInfo::default() }),
        ..TaskInfo::default()
    }
}

pub fn executor_info(id: &str) -> ExecutorInfo {
    ExecutorInfo {
        executor_id: v1::ExecutorId { value: id.to_owned() },
        command: Some(CommandInfo { value: Some("./run".to_owned()), ..CommandInfo::default() }),
        resources: vec![scalar("cpus", 0.5)],
        ..ExecutorInfo::default()
    }
}

pub fn custom_task(id: &str, executor: &str) -> TaskInfo {
    TaskInfo { command: None, executor: Some(executor_info(executor)), ..command_task(id) }
}

/// A status as an executor sends it; the uuid is made from the number.
pub fn status(task: &str, state: TaskState, uuid: u8) -> TaskStatus {
    TaskStatus {
        task_id: task_id(task),
        state: state.into(),
        uuid: Some(Bytes::from(vec![uuid; 16])),
        ..TaskStatus::default()
    }
}

pub fn uuid(number: u8) -> Bytes {
    Bytes::from(vec![number; 16])
}

/// The container that was launched.
pub fn launched(effects: &[Effect]) -> ContainerId {
    launch(effects).container
}

pub fn launch(effects: &[Effect]) -> mezzo_agent_core::Launch {
    let found = effects.iter().find_map(|e| match e {
        Effect::Launch(launch) => Some((**launch).clone()),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("nothing was launched: {effects:?}"))
}

/// The updates that went to the master.
pub fn sent(effects: &[Effect]) -> Vec<link::StatusUpdate> {
    let sent = to_master(effects).into_iter().filter_map(|m| match m {
        from_agent::Message::StatusUpdate(update) => Some(update),
        _ => None,
    });
    sent.collect()
}

pub fn states(effects: &[Effect]) -> Vec<(String, TaskState, Option<Reason>)> {
    let of = |u: link::StatusUpdate| {
        (
            u.status.task_id.value.clone(),
            u.status.state(),
            u.status.reason.map(|_| u.status.reason()),
        )
    };
    sent(effects).into_iter().map(of).collect()
}

pub fn to_master(effects: &[Effect]) -> Vec<from_agent::Message> {
    let messages = effects.iter().filter_map(|e| match e {
        Effect::ToMaster(message) => Some(message.clone()),
        _ => None,
    });
    messages.collect()
}

/// What went to executors.
pub fn events(effects: &[Effect]) -> Vec<(u64, event::Type, Event)> {
    let events = effects.iter().filter_map(|e| match e {
        Effect::ToExecutor { session, event } => Some((*session, event.r#type(), event.clone())),
        _ => None,
    });
    events.collect()
}

pub fn kinds(effects: &[Effect]) -> Vec<event::Type> {
    events(effects).into_iter().map(|(_, kind, _)| kind).collect()
}

pub fn destroyed(effects: &[Effect]) -> Vec<ContainerId> {
    let gone = effects.iter().filter_map(|e| match e {
        Effect::Destroy(container) => Some(container.clone()),
        _ => None,
    });
    gone.collect()
}

pub fn checkpoints(effects: &[Effect]) -> Vec<Checkpoint> {
    let written = effects.iter().filter_map(|e| match e {
        Effect::Checkpoint(checkpoint) => Some(checkpoint.clone()),
        _ => None,
    });
    written.collect()
}

/// The records that went to journals.
pub fn journal(effects: &[Effect]) -> Vec<RunRecord> {
    let records = checkpoints(effects).into_iter().filter_map(|c| match c {
        Checkpoint::Append { record, .. } => Some(*record),
        _ => None,
    });
    records.collect()
}
