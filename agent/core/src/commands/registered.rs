//! A master has registered this agent.

use mezzo_model::{AgentId, FrameworkId, TaskId};
use mezzo_proto::v1::link::{ReconcileTask, Registered, from_agent};
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::{self, TaskState};

use crate::agent::{Agent, Phase};
use crate::effect::{Checkpoint, Effect};
use crate::turn::Turn;
use crate::updates::{self, Verdict};

pub(crate) fn apply(agent: &mut Agent, turn: &mut Turn, message: Registered) {
    let given = AgentId::new(&message.agent_id.value);
    match agent.phase {
        Phase::Recovering => {
            return turn.note("registered by a master before recovery was over; ignored");
        }
        Phase::Terminating => {
            agent.linked = true;
            return;
        }
        Phase::Disconnected | Phase::Running => {}
    }
    match &agent.id {
        None => adopt(agent, turn, &given),
        Some(own) if *own != given => {
            turn.push(Effect::Exit {
                message: format!("the master calls this agent {given}, but it is {own}"),
                failure: true,
            });
            return;
        }
        Some(_) => {}
    }
    agent.phase = Phase::Running;
    agent.linked = true;

    let heads: Vec<_> = agent.streams.keys().cloned().collect();
    for key in &heads {
        if let Some(stream) = agent.streams.get_mut(key) {
            stream.restart();
        }
        updates::send_head(agent, turn, key);
    }
    for exited in std::mem::take(&mut agent.exits) {
        turn.tell_master(agent, from_agent::Message::ExecutorExited(exited));
    }
    for task in &message.reconcile {
        reconcile(agent, turn, task);
    }
}

fn adopt(agent: &mut Agent, turn: &mut Turn, id: &AgentId) {
    agent.id = Some(id.clone());
    agent.settings.info.id = Some(v1::AgentId { value: id.as_str().to_owned() });
    turn.push(Effect::Checkpoint(Checkpoint::Agent(Box::new(agent.info()))));
}

/// The master knows a task that the agent did not report.
fn reconcile(agent: &mut Agent, turn: &mut Turn, task: &ReconcileTask) {
    let framework_id = FrameworkId::new(&task.framework_id.value);
    let task_id = TaskId::new(&task.task_id.value);
    let pending = agent.frameworks.get(&framework_id).is_some_and(|f| {
        f.tasks.contains_key(&task_id)
            || f.launches
                .values()
                .flat_map(|l| &l.tasks)
                .any(|t| t.task_id.value == task_id.as_str())
    });
    if pending || agent.streams.contains_key(&(framework_id.clone(), task_id.clone())) {
        return;
    }
    let state = if task.partition_aware { TaskState::TaskDropped } else { TaskState::TaskLost };
    let verdict = Verdict {
        state,
        reason: Reason::Reconciliation,
        message: "Reconciliation: task unknown to the agent".to_owned(),
    };
    updates::declare(agent, turn, &framework_id, &task_id, None, verdict, &[]);
}
