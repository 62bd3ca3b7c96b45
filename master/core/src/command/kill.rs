//! KILL: a framework, or an operator for it, wants a task ended.

use mezzo_model::{FrameworkId, TaskId};
use mezzo_proto::v1;
use mezzo_proto::v1::link::{KillTask, from_master};
use mezzo_proto::v1::scheduler::call::{self, Reconcile};

use super::{Turn, reconcile};
use crate::effect::{Code, Rejection};

/// A task that is not live is answered as by reconciliation: the framework learns what is known.
pub(crate) fn by_framework(
    turn: &mut Turn<'_>,
    framework: &FrameworkId,
    call: call::Kill,
) -> Result<(), Rejection> {
    let id = TaskId::new(&call.task_id.value);
    let Some(task) = turn.need_framework(framework)?.tasks.get(&id) else {
        let asked = call::reconcile::Task { task_id: call.task_id, agent_id: call.agent_id };
        reconcile::apply(turn, framework, Reconcile { tasks: vec![asked] });
        return Ok(());
    };
    if let Some(agent) = call.agent_id.filter(|a| a.value != task.agent.as_str()) {
        return Err(Rejection::new(
            Code::InvalidArgument,
            format!(
                "kill.agent_id: is {:?}, but the task is on {:?}",
                agent.value,
                task.agent.as_str()
            ),
        ));
    }
    send(turn, framework, &id, call.kill_policy);
    Ok(())
}

/// By task id, and framework id if several frameworks have such a task.
pub(crate) fn by_operator(
    turn: &mut Turn<'_>,
    framework: Option<&FrameworkId>,
    task: &TaskId,
) -> Result<(), Rejection> {
    if let Some(framework) = framework {
        turn.need_framework(framework)?;
    }
    let mut owners =
        turn.cluster.books.frameworks.values().filter(|f| {
            f.tasks.contains_key(task) && framework.is_none_or(|wanted| f.id == *wanted)
        });
    let (first, second) = (owners.next(), owners.next());
    match (first, second) {
        (None, _) => Err(Rejection::new(
            Code::NotFound,
            format!("task_id: no live task is called {:?}", task.as_str()),
        )),
        (Some(_), Some(_)) => Err(Rejection::new(
            Code::FailedPrecondition,
            format!(
                "task_id: several frameworks have a task {:?}, expected framework_id to say whose",
                task.as_str()
            ),
        )),
        (Some(owner), None) => {
            let owner = owner.id.clone();
            send(turn, &owner, task, None);
            Ok(())
        }
    }
}

/// Remembered until the task ends, so that an agent that is away hears of it when it is back.
fn send(
    turn: &mut Turn<'_>,
    framework: &FrameworkId,
    task: &TaskId,
    policy: Option<v1::KillPolicy>,
) {
    let Some(agent) =
        turn.framework(framework).and_then(|f| f.tasks.get(task)).map(|t| t.agent.clone())
    else {
        return;
    };
    if let Some(entry) = turn.agent_mut(&agent) {
        entry.pending_kills.insert((framework.clone(), task.clone()), policy);
    }
    turn.tell_agent(
        &agent,
        from_master::Message::KillTask(KillTask {
            framework_id: framework.into(),
            task_id: task.into(),
            kill_policy: policy,
        }),
    );
}
