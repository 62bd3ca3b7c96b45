//! The hook: small changes and checks at chosen points of master and agent.

use crate::ModuleError;
use crate::v1::{
    AgentAttributesRequest, AgentAttributesResponse, AgentExecutorEnvironmentRequest,
    AgentExecutorEnvironmentResponse, AgentPostFetchRequest, AgentPostFetchResponse,
    AgentPrelaunchDockerRequest, AgentPrelaunchDockerResponse, AgentPrelaunchRequest,
    AgentPrelaunchResponse, AgentRemoveExecutorRequest, AgentRemoveExecutorResponse,
    AgentResourcesRequest, AgentResourcesResponse, AgentRunTaskLabelsRequest,
    AgentRunTaskLabelsResponse, AgentTaskStatusRequest, AgentTaskStatusResponse,
    MasterAgentLostRequest, MasterAgentLostResponse, MasterLaunchTaskLabelsRequest,
    MasterLaunchTaskLabelsResponse, MasterLaunchTaskResourcesRequest,
    MasterLaunchTaskResourcesResponse,
};

macro_rules! hooks {
    ($($(#[$doc:meta])* $method:ident($request:ty) -> $response:ty;)*) => {
        /// Called at chosen points of the master and of the agent.
        ///
        /// All hooks are called in the order of `--hooks`. A decorator sees what the one before it made; without a value in
        /// its response nothing changes, a value **replaces the whole** field: copy what you want to keep. An error is logged,
        /// counted and skipped, unless the method says otherwise.
        ///
        /// Calls come from any blocking thread, several at a time, each once per occasion; a launch that is tried again is an
        /// occasion of its own. A field that a message may leave out may be missing. Every method has a default that answers
        /// [`Code::Unimplemented`](crate::Code::Unimplemented), "unchanged": write only those you are about.
        ///
        /// `docs/module-spec.md` has the same rules as numbered sentences; `mezzo-module-testkit` tests each.
        pub trait Hook: Send + Sync {
            $($(#[$doc])*
            ///
            /// # Errors
            /// As said above; `Unimplemented` is none.
            fn $method(&self, request: $request) -> Result<$response, ModuleError> {
                let _ = request;
                Err(ModuleError::unimplemented(stringify!($method)))
            })*
        }
    };
}

hooks! {
    /// Master: for every task of a launch, before it is validated; may replace its resources.
    ///
    /// Must not block: the master's one writer waits. What is answered is validated as if the framework had asked for it.
    master_launch_task_resources(MasterLaunchTaskResourcesRequest) -> MasterLaunchTaskResourcesResponse;

    /// Master: a valid task is about to be sent to its agent; may replace the labels of the copy that is sent. What the master
    /// itself tells about the task keeps the framework's.
    ///
    /// Must not block: the master's one writer waits.
    master_launch_task_labels(MasterLaunchTaskLabelsRequest) -> MasterLaunchTaskLabelsResponse;

    /// Master: frameworks have been told that an agent is lost. Nothing can be changed any more.
    ///
    /// May block: nobody waits.
    master_agent_lost(MasterAgentLostRequest) -> MasterAgentLostResponse;

    /// Agent: once at start, before registration; may replace all resources.
    ///
    /// May block: the start waits. Give the same answer at the next start, or checkpointed reservations may not fit.
    agent_resources(AgentResourcesRequest) -> AgentResourcesResponse;

    /// Agent: once at start, after the resources were decorated (`agent` has them already); may replace all attributes.
    ///
    /// May block: the start waits.
    agent_attributes(AgentAttributesRequest) -> AgentAttributesResponse;

    /// Agent: a task has come in, nothing has been started for it; may replace its labels.
    ///
    /// Should not block: the launch waits.
    agent_run_task_labels(AgentRunTaskLabelsRequest) -> AgentRunTaskLabelsResponse;

    /// Agent: the environment of an executor is being made. `executor.command.environment` is what the hook before this one
    /// answered (for the first: the executor's own); the response **replaces** it whole. The last one's variables are put over
    /// those the agent made; those in the executor's own `CommandInfo` win over both.
    ///
    /// Should not block: the launch waits.
    agent_executor_environment(AgentExecutorEnvironmentRequest) -> AgentExecutorEnvironmentResponse;

    /// Agent: everything for a container is ready, its process has not been started. The check of last resort: **an error
    /// fails the task** (`TASK_FAILED`, reason `CONTAINER_LAUNCH_FAILED`, with the error's message).
    ///
    /// May block: the launch waits.
    agent_prelaunch(AgentPrelaunchRequest) -> AgentPrelaunchResponse;

    /// Agent: the same for a container that Docker runs. All hooks get the same request, their responses are merged in order,
    /// later variables win. **An error fails the task.**
    ///
    /// May block: the launch waits.
    agent_prelaunch_docker(AgentPrelaunchDockerRequest) -> AgentPrelaunchDockerResponse;

    /// Agent: the files a container wants have been fetched into its sandbox.
    ///
    /// May block: the launch waits.
    agent_post_fetch(AgentPostFetchRequest) -> AgentPostFetchResponse;

    /// Agent: a status update is being handled, whoever made it; of the response only labels and container status are taken.
    ///
    /// Must not block: the update waits.
    agent_task_status(AgentTaskStatusRequest) -> AgentTaskStatusResponse;

    /// Agent: an executor has ended and is being forgotten. Its sandbox is still there.
    ///
    /// May block: only the removal waits. May come again for the same executor after the agent was started again.
    agent_remove_executor(AgentRemoveExecutorRequest) -> AgentRemoveExecutorResponse;
}
