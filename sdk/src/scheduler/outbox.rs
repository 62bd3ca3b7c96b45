//! What a scheduler has asked for and the connection has not yet sent.
//!
//! Callers never wait here. Each kind of call has one fate when the connection is lost:
//!
//! | call | while disconnected |
//! |---|---|
//! | accept | its offers are void: every task in it is reported lost, locally |
//! | decline, acknowledge, message, request | dropped: void, or asked for again by the other side |
//! | suppress, revive | becomes part of the next subscription |
//! | kill, shutdown, reconcile, teardown, all others | sent after the next subscription |

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mezzo_proto::v1;
use mezzo_proto::v1::scheduler::{Call, call};
use tokio::sync::Notify;

/// More calls than this waiting means that the master no longer reads: the connection is broken.
const CALLS: usize = 65_536;

#[derive(Debug)]
pub(crate) struct Outbox {
    asked: Mutex<Asked>,
    changed: Notify,
}

#[derive(Debug)]
struct Asked {
    info: v1::FrameworkInfo,
    suppressed: BTreeSet<String>,
    calls: VecDeque<Call>,
    connected: bool,
    overflowed: bool,
    closing: bool,
}

impl Outbox {
    pub(crate) fn new(info: v1::FrameworkInfo) -> Self {
        let asked = Asked {
            info,
            suppressed: BTreeSet::new(),
            calls: VecDeque::new(),
            connected: false,
            overflowed: false,
            closing: false,
        };
        Self { asked: Mutex::new(asked), changed: Notify::new() }
    }

    pub(crate) fn framework_id(&self) -> Option<v1::FrameworkId> {
        self.lock().info.id.clone().filter(|id| !id.value.is_empty())
    }

    pub(crate) fn connected(&self) -> bool {
        self.lock().connected
    }

    pub(crate) fn partition_aware(&self) -> bool {
        let wanted = v1::framework_info::capability::Type::PartitionAware;
        self.lock().info.capabilities.iter().any(|capability| capability.r#type() == wanted)
    }

    pub(crate) fn push(&self, call: Call) {
        {
            let mut asked = self.lock();
            asked.remember(&call);
            if !asked.connected && !outlives_connection(&call) {
                // An accept stays: the connection's task reports its tasks lost.
                if call.r#type() != call::Type::Accept {
                    return;
                }
            }
            if asked.calls.len() >= CALLS {
                asked.overflowed = true;
                if let Some(at) = asked.calls.iter().position(|old| !outlives_connection(old)) {
                    asked.calls.remove(at);
                } else {
                    asked.calls.pop_front();
                }
                tracing::warn!(limit = CALLS, "the master does not read: a call was dropped");
            }
            asked.calls.push_back(call);
        }
        self.changed.notify_one();
    }

    /// Ends the connection once every call is sent.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_one();
    }

    pub(crate) fn closing(&self) -> bool {
        self.lock().closing
    }

    pub(crate) fn has_next(&self) -> bool {
        !self.lock().calls.is_empty()
    }

    pub(crate) fn overflowed(&self) -> bool {
        self.lock().overflowed
    }

    /// The next call, with the framework's id on it.
    pub(crate) fn next(&self) -> Option<Call> {
        let mut asked = self.lock();
        let mut call = asked.calls.pop_front()?;
        call.framework_id = asked.info.id.clone();
        Some(call)
    }

    pub(crate) fn subscribe(&self) -> Call {
        let asked = self.lock();
        Call {
            framework_id: asked.info.id.clone(),
            r#type: Some(call::Type::Subscribe.into()),
            subscribe: Some(call::Subscribe {
                framework_info: asked.info.clone(),
                suppressed_roles: asked.suppressed.iter().cloned().collect(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    pub(crate) fn subscribed(&self, id: v1::FrameworkId) {
        let mut asked = self.lock();
        asked.info.id = Some(id);
        asked.connected = true;
    }

    /// The connection is gone: forgets what died with it and returns the tasks that did.
    pub(crate) fn disconnected(&self) -> Vec<v1::TaskInfo> {
        let mut asked = self.lock();
        asked.connected = false;
        asked.overflowed = false;
        let mut lost = Vec::new();
        asked.calls.retain_mut(|call| {
            if let Some(accept) = call.accept.take() {
                lost.extend(accept.operations.into_iter().flat_map(tasks_of));
            }
            outlives_connection(call)
        });
        lost
    }

    /// Waits for the next change. Only the connection waits here.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        // Nothing in here panics half-way, so what a poisoned lock guards is whole.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// Keeps what the next subscription has to say.
    fn remember(&mut self, call: &Call) {
        match call.r#type() {
            call::Type::Suppress => {
                let roles = call.suppress.as_ref().map(|s| s.roles.clone()).unwrap_or_default();
                let roles = if roles.is_empty() { self.roles() } else { roles };
                self.suppressed.extend(roles);
            }
            call::Type::Revive => match call.revive.as_ref().map(|r| &r.roles) {
                Some(roles) if !roles.is_empty() => {
                    for role in roles {
                        self.suppressed.remove(role);
                    }
                }
                _ => self.suppressed.clear(),
            },
            call::Type::UpdateFramework => {
                if let Some(update) = &call.update_framework {
                    let id = self.info.id.take();
                    self.info = v1::FrameworkInfo { id, ..update.framework_info.clone() };
                    self.suppressed = update.suppressed_roles.iter().cloned().collect();
                }
            }
            _ => {}
        }
    }

    fn roles(&self) -> Vec<String> {
        if self.info.roles.is_empty() {
            vec![self.info.role().to_owned()]
        } else {
            self.info.roles.clone()
        }
    }
}

fn outlives_connection(call: &Call) -> bool {
    !matches!(
        call.r#type(),
        call::Type::Accept
            | call::Type::Decline
            | call::Type::AcceptInverseOffers
            | call::Type::DeclineInverseOffers
            | call::Type::Acknowledge
            | call::Type::AcknowledgeOperationStatus
            | call::Type::Message
            | call::Type::Request
            | call::Type::Suppress
            | call::Type::Revive
            | call::Type::UpdateFramework
    )
}

fn tasks_of(operation: v1::offer::Operation) -> Vec<v1::TaskInfo> {
    let mut tasks = operation.launch.map(|launch| launch.task_infos).unwrap_or_default();
    tasks.extend(operation.launch_group.map(|g| g.task_group.tasks).unwrap_or_default());
    tasks
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests {
    use super::*;
    use crate::scheduler::Framework;

    fn call(kind: call::Type) -> Call {
        Call { r#type: Some(kind.into()), ..Default::default() }
    }

    fn accept(task: &str) -> Call {
        let task =
            v1::TaskInfo { task_id: v1::TaskId { value: task.to_owned() }, ..Default::default() };
        let launch = v1::offer::operation::Launch { task_infos: vec![task] };
        let operation = v1::offer::Operation { launch: Some(launch), ..Default::default() };
        let accept = call::Accept { operations: vec![operation], ..Default::default() };
        Call { accept: Some(accept), ..call(call::Type::Accept) }
    }

    #[test]
    fn a_lost_connection_gives_back_tasks_and_keeps_kills() {
        let outbox = Outbox::new(Framework::new("f").into_info());
        outbox.subscribed(v1::FrameworkId { value: "id".to_owned() });
        outbox.push(accept("t1"));
        outbox.push(call(call::Type::Kill));
        outbox.push(call(call::Type::Decline));
        let lost = outbox.disconnected();
        assert_eq!(lost.len(), 1);
        assert_eq!(lost[0].task_id.value, "t1");
        assert_eq!(outbox.next().unwrap().r#type(), call::Type::Kill);
        assert!(outbox.next().is_none());
    }

    #[test]
    fn an_accept_while_disconnected_is_given_back_too() {
        let outbox = Outbox::new(Framework::new("f").into_info());
        outbox.push(accept("t1"));
        outbox.push(call(call::Type::Decline));
        assert_eq!(outbox.disconnected().len(), 1);
        assert!(!outbox.has_next());
    }

    #[test]
    fn suppressed_roles_survive_in_the_subscription() {
        let outbox = Outbox::new(Framework::new("f").roles(["a", "b"]).into_info());
        outbox.push(call(call::Type::Suppress));
        let revive = call::Revive { roles: vec!["a".to_owned()] };
        outbox.push(Call { revive: Some(revive), ..call(call::Type::Revive) });
        assert_eq!(outbox.subscribe().subscribe.unwrap().suppressed_roles, ["b"]);
        outbox.push(call(call::Type::Revive));
        assert!(outbox.subscribe().subscribe.unwrap().suppressed_roles.is_empty());
    }

    #[test]
    fn calls_beyond_the_limit_mark_the_connection_broken() {
        let outbox = Outbox::new(Framework::new("f").into_info());
        outbox.subscribed(v1::FrameworkId { value: "id".to_owned() });
        outbox.push(call(call::Type::Kill));
        for _ in 0..CALLS {
            outbox.push(call(call::Type::Acknowledge));
        }
        assert!(outbox.overflowed());
        outbox.disconnected();
        assert!(!outbox.overflowed());
        assert_eq!(outbox.next().unwrap().r#type(), call::Type::Kill, "the kill was kept");
    }
}
