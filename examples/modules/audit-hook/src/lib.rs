//! Hook `example/audit`: a line of JSON for everything that happens to a task, on the master and on agents.
//!
//! | parameter | default | meaning |
//! |---|---|---|
//! | `file` | required | The file that lines are appended to; its directory is made. |
//! | `queue` | `4096` | How many lines may wait to be written. |
//!
//! A hook changes nothing here: every answer is empty. And it holds nobody up, since a master waits for its hooks: lines go
//! through a queue to a thread that writes them. When the queue is full a line is dropped, counted (`lost`) and the log
//! says so; what is in the queue when the process ends is written before.

mod writer;

use mezzo_module_abi::export_module;
use mezzo_module_api::types::{ContainerId, ExecutorInfo, FrameworkInfo, TaskInfo, TaskState};
use mezzo_module_api::v1::{
    AgentPostFetchRequest, AgentPostFetchResponse, AgentPrelaunchRequest, AgentPrelaunchResponse,
    AgentRemoveExecutorRequest, AgentRemoveExecutorResponse, AgentRunTaskLabelsRequest,
    AgentRunTaskLabelsResponse, AgentTaskStatusRequest, AgentTaskStatusResponse,
    MasterAgentLostRequest, MasterAgentLostResponse, MasterLaunchTaskLabelsRequest,
    MasterLaunchTaskLabelsResponse,
};
use mezzo_module_api::{Hook, Host, ModuleError, Parameters};
use serde_json::{Map, Value, json};

use crate::writer::Writer;

/// Keeps the trail.
#[derive(Debug)]
pub struct Audit {
    process: String,
    writer: Writer,
}

impl Audit {
    /// The hook for these parameters; opens the file.
    ///
    /// # Errors
    /// When a parameter is missing, unknown or wrong, or the file cannot be opened.
    pub fn new(host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        parameters.allow_only(&["file", "queue"])?;
        let Some(file) = parameters.get("file").filter(|file| !file.is_empty()) else {
            return Err(ModuleError::invalid("parameter `file` is missing, expected a path"));
        };
        let queue = parameters.parse("queue")?.unwrap_or(4096);
        let process = host.process().name.clone();
        Ok(Self { process, writer: Writer::new(host, file, queue)? })
    }

    /// Notes an event. Fields that say nothing are left out.
    fn note(&self, event: &str, fields: Value) {
        let mut line = Map::new();
        line.insert("at".into(), writer::now().into());
        line.insert("process".into(), self.process.clone().into());
        line.insert("event".into(), event.into());
        if let Value::Object(fields) = fields {
            line.extend(fields.into_iter().filter(|(_, value)| !value.is_null() && value != ""));
        }
        self.writer.write(Value::Object(line).to_string());
    }
}

impl Hook for Audit {
    fn master_launch_task_labels(
        &self,
        request: MasterLaunchTaskLabelsRequest,
    ) -> Result<MasterLaunchTaskLabelsResponse, ModuleError> {
        let agent = request.agent.unwrap_or_default();
        self.note(
            "task_sent",
            json!({
                "task": task(request.task.as_ref()),
                "framework": framework(request.framework.as_ref()),
                "agent": agent.id.map(|id| id.value),
                "hostname": agent.hostname,
            }),
        );
        Ok(MasterLaunchTaskLabelsResponse::default())
    }

    fn master_agent_lost(
        &self,
        request: MasterAgentLostRequest,
    ) -> Result<MasterAgentLostResponse, ModuleError> {
        let agent = request.agent.unwrap_or_default();
        let id = agent.id.map(|id| id.value);
        self.note("agent_lost", json!({ "agent": id, "hostname": agent.hostname }));
        Ok(MasterAgentLostResponse::default())
    }

    fn agent_run_task_labels(
        &self,
        request: AgentRunTaskLabelsRequest,
    ) -> Result<AgentRunTaskLabelsResponse, ModuleError> {
        self.note(
            "task_received",
            json!({
                "task": task(request.task.as_ref()),
                "executor": executor(request.executor.as_ref()),
                "framework": framework(request.framework.as_ref()),
            }),
        );
        Ok(AgentRunTaskLabelsResponse::default())
    }

    fn agent_prelaunch(
        &self,
        request: AgentPrelaunchRequest,
    ) -> Result<AgentPrelaunchResponse, ModuleError> {
        let config = request.config.unwrap_or_default();
        self.note(
            "container_starts",
            json!({
                "container": container(request.container_id.as_ref()),
                "task": task(config.task_info.as_ref()),
                "executor": executor(config.executor_info.as_ref()),
                "framework": framework(request.framework.as_ref()),
                "user": config.user,
                "sandbox": config.directory,
            }),
        );
        Ok(AgentPrelaunchResponse::default())
    }

    fn agent_post_fetch(
        &self,
        request: AgentPostFetchRequest,
    ) -> Result<AgentPostFetchResponse, ModuleError> {
        let container = container(request.container_id.as_ref());
        self.note("fetched", json!({ "container": container, "sandbox": request.directory }));
        Ok(AgentPostFetchResponse::default())
    }

    fn agent_task_status(
        &self,
        request: AgentTaskStatusRequest,
    ) -> Result<AgentTaskStatusResponse, ModuleError> {
        let status = request.status.unwrap_or_default();
        let state = TaskState::try_from(status.state).map(|state| state.as_str_name());
        self.note(
            "task_status",
            json!({
                "task": status.task_id.value,
                "framework": request.framework_id.map(|id| id.value),
                "state": state.unwrap_or("unknown"),
                "message": status.message,
            }),
        );
        Ok(AgentTaskStatusResponse::default())
    }

    fn agent_remove_executor(
        &self,
        request: AgentRemoveExecutorRequest,
    ) -> Result<AgentRemoveExecutorResponse, ModuleError> {
        self.note(
            "executor_removed",
            json!({
                "container": container(request.container_id.as_ref()),
                "executor": executor(request.executor.as_ref()),
                "framework": framework(request.framework.as_ref()),
                "sandbox": request.directory,
            }),
        );
        Ok(AgentRemoveExecutorResponse::default())
    }
}

fn task(task: Option<&TaskInfo>) -> Option<&str> {
    task.map(|task| task.task_id.value.as_str())
}

fn executor(executor: Option<&ExecutorInfo>) -> Option<&str> {
    executor.map(|executor| executor.executor_id.value.as_str())
}

fn framework(framework: Option<&FrameworkInfo>) -> Option<&str> {
    framework.and_then(|framework| framework.id.as_ref()).map(|id| id.value.as_str())
}

/// `outer.inner` for a nested one.
fn container(id: Option<&ContainerId>) -> Option<String> {
    let id = id?;
    let parent = container(id.parent.as_deref());
    Some(parent.map_or(id.value.clone(), |parent| format!("{parent}.{}", id.value)))
}

export_module! {
    hook "example/audit" ("appends a line of JSON to a file for everything that happens to a task") = Audit::new;
}
