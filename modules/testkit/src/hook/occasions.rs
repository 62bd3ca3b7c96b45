//! What hooks are called about: a request of each sort, as a master or an agent would send it.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use mezzo_model::{Format, Resources, Role};
use mezzo_module_api::v1::{
    AgentAttributesRequest, AgentExecutorEnvironmentRequest, AgentPostFetchRequest,
    AgentPrelaunchDockerRequest, AgentPrelaunchRequest, AgentRemoveExecutorRequest,
    AgentResourcesRequest, AgentRunTaskLabelsRequest, AgentTaskStatusRequest, ContainerConfig,
    MasterAgentLostRequest, MasterLaunchTaskLabelsRequest, MasterLaunchTaskResourcesRequest,
};
use mezzo_module_api::{Code, Completion, Hook, HookMethod, ModuleError, Remote, Transport};
use mezzo_proto::v1::{
    AgentId, AgentInfo, Attribute, CommandInfo, ContainerId, Environment, ExecutorId, ExecutorInfo,
    FrameworkId, FrameworkInfo, Label, Labels, Resource, TaskId, TaskInfo, TaskState, TaskStatus,
    environment, value,
};

use crate::{Failure, Subject};

/// A task with all that belongs to it, and its sandbox.
pub(super) struct Occasion {
    pub(super) sandbox: PathBuf,
    name: String,
}

/// What came of one call.
pub(super) struct Told {
    method: HookMethod,
    answer: Result<(), ModuleError>,
}

impl Told {
    /// `None` where there was no error.
    pub(super) fn code(&self) -> Option<Code> {
        self.answer.as_ref().err().map(|error| error.code)
    }

    /// Answered, or refused where that is allowed. (What a hook does not care for, UNIMPLEMENTED, comes as an empty answer.)
    pub(super) fn in_order(&self) -> bool {
        let may_refuse =
            matches!(self.method, HookMethod::AgentPrelaunch | HookMethod::AgentPrelaunchDocker);
        match self.code() {
            None | Some(Code::Unimplemented) => true,
            Some(_) => may_refuse,
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.answer {
            Ok(()) => write!(f, "`{}` was answered", self.method),
            Err(error) => write!(f, "`{}` failed: {error}", self.method),
        }
    }
}

/// A transport by reference.
struct Borrowed<'a>(&'a dyn Transport);

impl Transport for Borrowed<'_> {
    fn call(&self, method: u32, request: &[u8]) -> Result<Vec<u8>, ModuleError> {
        self.0.call(method, request)
    }

    fn start(&self, method: u32, request: &[u8], done: Completion<Vec<u8>>) {
        self.0.start(method, request, done);
    }
}

/// A transport that keeps what was answered, by method.
pub(super) struct Recorder<'a> {
    inner: &'a dyn Transport,
    answers: Mutex<Vec<Answer>>,
}

/// A method, and what it answered.
pub(super) type Answer = (u32, Result<Vec<u8>, ModuleError>);

impl<'a> Recorder<'a> {
    pub(super) fn new(inner: &'a dyn Transport) -> Self {
        Self { inner, answers: Mutex::default() }
    }

    pub(super) fn answers(self) -> Vec<Answer> {
        self.answers.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Recorder<'_> {
    fn call(&self, method: u32, request: &[u8]) -> Result<Vec<u8>, ModuleError> {
        let answer = self.inner.call(method, request);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.push((method, answer.clone()));
        answer
    }

    fn start(&self, method: u32, request: &[u8], done: Completion<Vec<u8>>) {
        self.inner.start(method, request, done);
    }
}

impl Occasion {
    pub(super) fn new(subject: &Subject) -> Result<Self, Failure> {
        let name = format!("testkit-{}-{}", std::process::id(), Subject::number());
        let sandbox = subject.place().join("sandboxes").join(&name);
        let made = fs::create_dir_all(&sandbox)
            .and_then(|()| fs::write(sandbox.join("stdout"), "a line\n"))
            .and_then(|()| fs::write(sandbox.join("result.txt"), "42\n"));
        made.map_err(|error| {
            Failure::new(format!("{}: {error}", sandbox.display()), "a sandbox can be made")
        })?;
        Ok(Self { sandbox, name })
    }

    /// Every occasion, in the order in which they come in a task's life.
    pub(super) fn all(&self, hook: &dyn Transport) -> Vec<Told> {
        HookMethod::ALL.iter().map(|method| self.one(*method, hook)).collect()
    }

    /// The same, the last first.
    pub(super) fn backwards(&self, hook: &dyn Transport) -> Vec<Told> {
        HookMethod::ALL.iter().rev().map(|method| self.one(*method, hook)).collect()
    }

    fn one(&self, method: HookMethod, transport: &dyn Transport) -> Told {
        let hook = Remote::new(Borrowed(transport));
        let answer = match method {
            HookMethod::MasterLaunchTaskResources => {
                hook.master_launch_task_resources(self.task_resources()).map(drop)
            }
            HookMethod::MasterLaunchTaskLabels => {
                hook.master_launch_task_labels(self.task_labels()).map(drop)
            }
            HookMethod::MasterAgentLost => hook.master_agent_lost(self.agent_lost()).map(drop),
            HookMethod::AgentResources => hook.agent_resources(self.agent_resources()).map(drop),
            HookMethod::AgentAttributes => hook.agent_attributes(self.agent_attributes()).map(drop),
            HookMethod::AgentRunTaskLabels => {
                hook.agent_run_task_labels(self.run_task_labels()).map(drop)
            }
            HookMethod::AgentExecutorEnvironment => {
                hook.agent_executor_environment(self.executor_environment()).map(drop)
            }
            HookMethod::AgentPrelaunch => hook.agent_prelaunch(self.prelaunch()).map(drop),
            HookMethod::AgentPrelaunchDocker => {
                hook.agent_prelaunch_docker(self.prelaunch_docker()).map(drop)
            }
            HookMethod::AgentPostFetch => hook.agent_post_fetch(self.post_fetch()).map(drop),
            HookMethod::AgentTaskStatus => hook.agent_task_status(self.task_status()).map(drop),
            HookMethod::AgentRemoveExecutor => {
                hook.agent_remove_executor(self.remove_executor()).map(drop)
            }
            // A method that came after this suite: its MUSTs come with it.
            _ => Ok(()),
        };
        Told { method, answer }
    }

    pub(super) fn task_resources(&self) -> MasterLaunchTaskResourcesRequest {
        MasterLaunchTaskResourcesRequest {
            task: Some(self.task()),
            agent_resources: resources("cpus:4;mem:4096;disk:8192"),
        }
    }

    pub(super) fn task_labels(&self) -> MasterLaunchTaskLabelsRequest {
        MasterLaunchTaskLabelsRequest {
            task: Some(self.task()),
            framework: Some(framework()),
            agent: Some(agent()),
        }
    }

    fn agent_lost(&self) -> MasterAgentLostRequest {
        MasterAgentLostRequest { agent: Some(agent()) }
    }

    pub(super) fn agent_resources(&self) -> AgentResourcesRequest {
        AgentResourcesRequest { agent: Some(AgentInfo { id: None, ..agent() }) }
    }

    pub(super) fn agent_attributes(&self) -> AgentAttributesRequest {
        AgentAttributesRequest { agent: Some(AgentInfo { id: None, ..agent() }) }
    }

    pub(super) fn run_task_labels(&self) -> AgentRunTaskLabelsRequest {
        AgentRunTaskLabelsRequest {
            task: Some(self.task()),
            executor: Some(self.executor()),
            framework: Some(framework()),
            agent: Some(agent()),
        }
    }

    pub(super) fn executor_environment(&self) -> AgentExecutorEnvironmentRequest {
        AgentExecutorEnvironmentRequest { executor: Some(self.executor()) }
    }

    pub(super) fn prelaunch(&self) -> AgentPrelaunchRequest {
        let config = ContainerConfig {
            executor_info: Some(self.executor()),
            task_info: Some(self.task()),
            command_info: command(),
            resources: resources("cpus:0.1;mem:64"),
            directory: self.sandbox.display().to_string(),
            user: Some("nobody".into()),
            ..ContainerConfig::default()
        };
        AgentPrelaunchRequest {
            container_id: Some(self.container()),
            framework: Some(framework()),
            config: Some(config),
            environment: Some(environment()),
        }
    }

    pub(super) fn prelaunch_docker(&self) -> AgentPrelaunchDockerRequest {
        AgentPrelaunchDockerRequest {
            task: Some(self.task()),
            executor: Some(self.executor()),
            container_name: Some(format!("mezzo-{}", self.name)),
            work_directory: Some(self.sandbox.display().to_string()),
            mapped_directory: Some("/mnt/mesos/sandbox".into()),
            environment: Some(environment()),
        }
    }

    pub(super) fn post_fetch(&self) -> AgentPostFetchRequest {
        AgentPostFetchRequest {
            container_id: Some(self.container()),
            directory: Some(self.sandbox.display().to_string()),
        }
    }

    pub(super) fn task_status(&self) -> AgentTaskStatusRequest {
        let status = TaskStatus {
            task_id: TaskId { value: format!("task-{}", self.name) },
            state: TaskState::TaskRunning.into(),
            ..TaskStatus::default()
        };
        AgentTaskStatusRequest { framework_id: framework().id, status: Some(status) }
    }

    pub(super) fn remove_executor(&self) -> AgentRemoveExecutorRequest {
        AgentRemoveExecutorRequest {
            framework: Some(framework()),
            executor: Some(self.executor()),
            container_id: Some(self.container()),
            directory: Some(self.sandbox.display().to_string()),
        }
    }

    fn container(&self) -> ContainerId {
        ContainerId { value: self.name.clone(), parent: None }
    }

    fn task(&self) -> TaskInfo {
        let labels = vec![Label { key: "team".into(), value: Some("web".into()) }];
        TaskInfo {
            name: "sleeper".into(),
            task_id: TaskId { value: format!("task-{}", self.name) },
            agent_id: AgentId { value: "agent-of-the-testkit".into() },
            command: Some(command()),
            resources: resources("cpus:0.1;mem:64"),
            labels: Some(Labels { labels }),
            ..TaskInfo::default()
        }
    }

    fn executor(&self) -> ExecutorInfo {
        ExecutorInfo {
            executor_id: ExecutorId { value: format!("executor-{}", self.name) },
            framework_id: framework().id,
            command: Some(command()),
            ..ExecutorInfo::default()
        }
    }
}

/// Requests of which the outer parts are there and the inner ones are not.
pub(super) fn half(hook: &dyn Hook) {
    // Panics and slow calls are noticed by whoever runs this; any answer will do.
    let _ = hook.master_launch_task_resources(MasterLaunchTaskResourcesRequest {
        task: Some(TaskInfo::default()),
        ..Default::default()
    });
    let _ = hook.master_launch_task_labels(MasterLaunchTaskLabelsRequest {
        task: Some(TaskInfo::default()),
        framework: Some(FrameworkInfo::default()),
        agent: None,
    });
    let _ = hook.master_agent_lost(MasterAgentLostRequest { agent: Some(AgentInfo::default()) });
    let _ = hook.agent_resources(AgentResourcesRequest { agent: Some(AgentInfo::default()) });
    let _ = hook.agent_attributes(AgentAttributesRequest { agent: Some(AgentInfo::default()) });
    let _ = hook.agent_run_task_labels(AgentRunTaskLabelsRequest {
        task: Some(TaskInfo { labels: Some(Labels::default()), ..TaskInfo::default() }),
        ..Default::default()
    });
    let _ = hook.agent_executor_environment(AgentExecutorEnvironmentRequest {
        executor: Some(ExecutorInfo::default()),
    });
    let _ = hook.agent_prelaunch(AgentPrelaunchRequest {
        config: Some(ContainerConfig::default()),
        ..Default::default()
    });
    let _ = hook.agent_prelaunch_docker(AgentPrelaunchDockerRequest {
        task: Some(TaskInfo::default()),
        ..Default::default()
    });
    let _ = hook.agent_post_fetch(AgentPostFetchRequest {
        container_id: Some(ContainerId::default()),
        directory: Some(String::new()),
    });
    let _ = hook.agent_task_status(AgentTaskStatusRequest {
        status: Some(TaskStatus::default()),
        ..Default::default()
    });
    let _ = hook.agent_remove_executor(AgentRemoveExecutorRequest {
        executor: Some(ExecutorInfo::default()),
        ..Default::default()
    });
}

fn framework() -> FrameworkInfo {
    FrameworkInfo {
        id: Some(FrameworkId { value: "framework-of-the-testkit".into() }),
        name: "testkit".into(),
        user: "nobody".into(),
        roles: vec!["*".into()],
        ..FrameworkInfo::default()
    }
}

fn agent() -> AgentInfo {
    let rack = Attribute {
        name: "rack".into(),
        r#type: value::Type::Text.into(),
        text: Some(value::Text { value: "r1".into() }),
        ..Attribute::default()
    };
    AgentInfo {
        id: Some(AgentId { value: "agent-of-the-testkit".into() }),
        hostname: "host.example".into(),
        resources: resources("cpus:4;mem:4096;disk:8192;ports:[31000-31099]"),
        attributes: vec![rack],
        ..AgentInfo::default()
    }
}

fn command() -> CommandInfo {
    CommandInfo {
        value: Some("sleep 600".into()),
        environment: Some(environment()),
        ..CommandInfo::default()
    }
}

fn environment() -> Environment {
    let variable = environment::Variable {
        name: "GREETING".into(),
        value: Some("hello".into()),
        ..environment::Variable::default()
    };
    Environment { variables: vec![variable] }
}

fn resources(text: &str) -> Vec<Resource> {
    let parsed = Resources::parse(text, &Role::star()).unwrap_or_default();
    parsed.to_proto(Format::PostRefinement)
}
