//! Giving tasks to an executor: first its container gets room for them, then they are sent. The same way back: what ended
//! tasks held is taken from the container before their end is told. One change of a container at a time; what comes
//! meanwhile shares the next one.

use mezzo_model::ContainerId;
use mezzo_proto::v1::TaskGroupInfo;
use mezzo_proto::v1::executor::{Event, event};

use crate::agent::Agent;
use crate::effect::Effect;
use crate::executor::{Executor, Room, State};
use crate::resources;
use crate::task::Place;
use crate::turn::Turn;
use crate::updates;

/// Asks for a change of the container if one is needed, and goes on at once if not.
pub(crate) fn resize(agent: &mut Agent, turn: &mut Turn, container: &ContainerId) {
    let token = agent.token();
    let Some(executor) = agent.in_container(container) else { return };
    if executor.state != State::Running || executor.change.is_some() {
        return;
    }
    let asks =
        executor.batches.iter().any(|b| b.room == Room::Unknown) || !executor.waiting.is_empty();
    if executor.total_told {
        if asks {
            set_room(executor, Room::Unknown, Room::Made);
            let waiting = std::mem::take(&mut executor.waiting);
            proceed(agent, turn, container, waiting);
        }
        return;
    }
    set_room(executor, Room::Unknown, Room::Asked);
    executor.change = Some((token, std::mem::take(&mut executor.waiting)));
    executor.total_told = true;
    turn.push(Effect::Update {
        container: container.clone(),
        token,
        requests: executor.total.to_proto(),
        limits: resources::limits(executor),
    });
}

/// The container has been changed.
pub(crate) fn changed(agent: &mut Agent, turn: &mut Turn, container: &ContainerId, token: u64) {
    let Some(executor) = agent.in_container(container) else { return };
    let Some((_, waiting)) = executor.change.take_if(|(asked, _)| *asked == token) else { return };
    set_room(executor, Room::Asked, Room::Made);
    proceed(agent, turn, container, waiting);
    resize(agent, turn, container);
}

fn proceed(
    agent: &mut Agent,
    turn: &mut Turn,
    container: &ContainerId,
    waiting: Vec<updates::Update>,
) {
    for update in waiting {
        updates::forward(agent, turn, update);
    }
    send(agent, turn, container);
}

fn set_room(executor: &mut Executor, from: Room, to: Room) {
    for batch in &mut executor.batches {
        if batch.room == from {
            batch.room = to;
        }
    }
}

/// Sends what there is room for. Without a connection everything stays until there is one.
pub(crate) fn send(agent: &mut Agent, turn: &mut Turn, container: &ContainerId) {
    let Some(executor) = agent.in_container(container) else { return };
    let (State::Running, Some(session)) = (executor.state, executor.session) else { return };
    while executor.batches.front().is_some_and(|b| b.room == Room::Made) {
        let Some(batch) = executor.batches.pop_front() else { return };
        let mut tasks = Vec::with_capacity(batch.tasks.len());
        for id in &batch.tasks {
            if let Some(task) = executor.tasks.get_mut(id) {
                task.place = Place::Launched;
                tasks.push(task.info.clone());
            }
        }
        if batch.group {
            let group = event::LaunchGroup { task_group: TaskGroupInfo { tasks } };
            let event = Event {
                r#type: Some(event::Type::LaunchGroup.into()),
                launch_group: Some(group),
                ..Event::default()
            };
            turn.tell_executor(Some(session), event);
            continue;
        }
        for task in tasks {
            let event = Event {
                r#type: Some(event::Type::Launch.into()),
                launch: Some(event::Launch { task }),
                ..Event::default()
            };
            turn.tell_executor(Some(session), event);
        }
    }
}
