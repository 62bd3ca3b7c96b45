//! Lets hook modules see launches, and agents that are lost.
//!
//! The core knows nothing of hooks. They are asked where a call comes in and where a message goes out: on the stream of the
//! framework or the agent that it concerns, whose order is kept and which alone waits. One that does not come back is passed
//! over after a while, and not asked again before it has.

use std::sync::Arc;
use std::time::Duration;

use mezzo_model::AgentId;
use mezzo_module_api::v1::{
    MasterAgentLostRequest, MasterLaunchTaskLabelsRequest, MasterLaunchTaskResourcesRequest,
};
use mezzo_module_api::{Hook, ModuleError, if_implemented};
use mezzo_module_host::NamedHook;
use mezzo_proto::v1;
use mezzo_proto::v1::link::{FromMaster, RunTask, RunTaskGroup, from_master};
use mezzo_proto::v1::offer::operation::Type;
use mezzo_proto::v1::scheduler;
use mezzo_runtime::lanes::Callee;
use mezzo_runtime::task::Tasks;
use tokio::sync::mpsc;

use crate::actor::Handle;

/// Calls of one kind that a hook works on at a time; so many frameworks or agents wait for one that hangs.
const PLACES: usize = 4;

type AnyHook = dyn Hook;

/// The hooks of a master; there is at least one.
pub(crate) struct Hooks {
    hooks: Vec<Callee<AnyHook>>,
    /// How long one may take.
    patience: Duration,
    actor: Handle,
}

/// Where the actor says that an agent is lost.
#[derive(Clone)]
pub(crate) struct ToHooks(mpsc::UnboundedSender<v1::AgentInfo>);

impl ToHooks {
    pub(crate) fn agent_lost(&self, agent: v1::AgentInfo) {
        // Nobody listens any more when the process ends.
        let _ = self.0.send(agent);
    }
}

impl Hooks {
    /// These hooks, if there are any, and where they hear of lost agents.
    pub(crate) fn start(
        hooks: Vec<NamedHook>,
        patience: Duration,
        actor: Handle,
        tasks: &Tasks,
    ) -> Option<(Arc<Self>, ToHooks)> {
        if hooks.is_empty() {
            return None;
        }
        let hooks =
            hooks.into_iter().map(|hook| Callee::new(&hook.name, hook.module, PLACES)).collect();
        let hooks = Arc::new(Self { hooks, patience, actor });
        #[expect(
            clippy::disallowed_methods,
            reason = "the actor may not wait for hooks; an agent is lost once in a while"
        )]
        let (sender, mut lost) = mpsc::unbounded_channel();
        let asked = Arc::clone(&hooks);
        tasks.spawn("agent-lost hooks", async move {
            while let Some(agent) = lost.recv().await {
                asked.agent_lost(agent).await;
            }
        });
        Some((hooks, ToHooks(sender)))
    }

    /// A framework's call has come in: hooks may replace the resources of the tasks in it.
    pub(crate) async fn look_at(&self, call: &mut scheduler::Call) {
        let Some(accept) = &mut call.accept else { return };
        let mut books = None;
        for operation in &mut accept.operations {
            let tasks = match operation.r#type() {
                Type::Launch => operation.launch.as_mut().map(|l| &mut l.task_infos),
                Type::LaunchGroup => {
                    operation.launch_group.as_mut().map(|l| &mut l.task_group.tasks)
                }
                _ => None,
            };
            for task in tasks.into_iter().flatten() {
                if books.is_none() {
                    // Without an actor there is nobody to launch anything either.
                    books = self.actor.snapshot().await.ok();
                }
                let agent = AgentId::new(&task.agent_id.value);
                let agent = books.as_ref().and_then(|books| books.agents.get(&agent));
                // Of an agent that is not known they are none; the launch will be refused.
                let total = agent.map(|a| a.total.to_proto(mezzo_model::Format::PostRefinement));
                self.resources(task, total.unwrap_or_default()).await;
            }
        }
    }

    async fn resources(&self, task: &mut v1::TaskInfo, agent_resources: Vec<v1::Resource>) {
        for hook in &self.hooks {
            let request = MasterLaunchTaskResourcesRequest {
                task: Some(task.clone()),
                agent_resources: agent_resources.clone(),
            };
            let answer = self.ask(hook, "master_launch_task_resources", move |hook| {
                hook.master_launch_task_resources(request)
            });
            if let Some(list) = answer.await.and_then(|answer| answer.resources) {
                task.resources = list.resources;
            }
        }
    }

    /// A message is about to go to an agent: hooks may replace the labels of the tasks in it. `agent` is who it is, once that
    /// has been asked.
    pub(crate) async fn look_at_message(
        &self,
        message: &mut FromMaster,
        agent: &mut Option<v1::AgentInfo>,
    ) {
        let (framework, tasks) = match &mut message.message {
            Some(from_master::Message::RunTask(RunTask { framework_info, task, .. })) => {
                (framework_info, std::slice::from_mut(task))
            }
            Some(from_master::Message::RunTaskGroup(RunTaskGroup {
                framework_info,
                task_group,
                ..
            })) => (framework_info, task_group.tasks.as_mut_slice()),
            _ => return,
        };
        let Some(first) = tasks.first() else { return };
        if agent.is_none()
            && let Ok(books) = self.actor.snapshot().await
        {
            let found = books.agents.get(&AgentId::new(&first.agent_id.value));
            *agent = found.map(|agent| (*agent.info).clone());
        }
        for task in tasks {
            for hook in &self.hooks {
                let request = MasterLaunchTaskLabelsRequest {
                    task: Some(task.clone()),
                    framework: Some(framework.clone()),
                    agent: agent.clone(),
                };
                let answer = self.ask(hook, "master_launch_task_labels", move |hook| {
                    hook.master_launch_task_labels(request)
                });
                if let Some(labels) = answer.await.and_then(|answer| answer.labels) {
                    task.labels = Some(labels);
                }
            }
        }
    }

    async fn agent_lost(&self, agent: v1::AgentInfo) {
        for hook in &self.hooks {
            let request = MasterAgentLostRequest { agent: Some(agent.clone()) };
            self.ask(hook, "master_agent_lost", move |hook| hook.master_agent_lost(request)).await;
        }
    }

    /// Asks one hook; none if it has nothing to say. One that fails, or does not come back, is passed over.
    fn ask<T: Send + 'static>(
        &self,
        hook: &Callee<AnyHook>,
        call: &'static str,
        work: impl FnOnce(&AnyHook) -> Result<T, ModuleError> + Send + 'static,
    ) -> impl Future<Output = Option<T>> + Send {
        hook.call_or_pass(call, self.patience, |hook| if_implemented(work(hook)))
    }
}
