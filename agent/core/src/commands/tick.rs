//! Deadlines that have come.

use mezzo_model::ContainerId;
use mezzo_proto::v1::TaskState;
use mezzo_proto::v1::task_status::Reason;

use crate::agent::Agent;
use crate::commands::recovered;
use crate::effect::{Effect, Measure};
use crate::executor::{Cause, State};
use crate::removal;
use crate::timers::Timer;
use crate::turn::Turn;
use crate::updates;

pub(crate) fn apply(agent: &mut Agent, turn: &mut Turn) {
    while let Some(timer) = agent.timers.pop(turn.now.at) {
        match timer {
            Timer::Registration(container) => registration(agent, turn, &container),
            Timer::Shutdown(container) => shutdown(agent, turn, &container),
            Timer::Retry(framework, task) => {
                let key = (framework, task);
                if let Some(stream) = agent.streams.get_mut(&key) {
                    stream.retry_at = None;
                    turn.measure(Measure::UpdateRetried);
                    updates::send_head(agent, turn, &key);
                }
            }
            Timer::Reregistration => recovered::wait_is_over(agent, turn),
        }
    }
}

/// The executor has not subscribed in time.
fn registration(agent: &mut Agent, turn: &mut Turn, container: &ContainerId) {
    let timeout = agent.settings.executor_registration_timeout;
    let Some(executor) = agent.in_container(container) else { return };
    executor.deadline = None;
    if executor.state != State::Registering {
        return;
    }
    let cause = Cause {
        state: TaskState::TaskFailed,
        reason: Reason::ExecutorRegistrationTimeout,
        message: format!("Executor did not register within {timeout:?}"),
    };
    removal::destroy_executor(agent, turn, container, cause);
}

/// The executor has been told to end and did not.
fn shutdown(agent: &mut Agent, turn: &mut Turn, container: &ContainerId) {
    let Some(executor) = agent.in_container(container) else { return };
    executor.deadline = None;
    if executor.state == State::Terminating {
        turn.push(Effect::Destroy(container.clone()));
    }
}
