//! What is known of each container, and how a subsystem says that one has to end.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mezzo_module_api::Completion;
use mezzo_module_api::v1::{ContainerLimitation, WatchResponse};

/// The containers of one isolator, by name. Shared with the alarms.
#[derive(Clone, Debug, Default)]
pub(crate) struct Containers(Arc<Mutex<HashMap<String, Known>>>);

/// What the isolator itself knows of a container.
#[derive(Debug)]
pub(crate) struct Known {
    /// In its ancestor's cgroups: nothing is limited, watched or measured.
    pub(crate) shared: bool,
    /// Subsystems that it was started without, in an earlier life of the agent.
    pub(crate) without: HashSet<&'static str>,
    /// Whoever waits for the limitation, or the limitation that nobody has waited for yet.
    waiting: Option<Completion<WatchResponse>>,
    happened: Option<ContainerLimitation>,
}

impl Known {
    pub(crate) fn new(shared: bool) -> Self {
        Self { shared, without: HashSet::new(), waiting: None, happened: None }
    }
}

impl Containers {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The alarm of a container.
    pub(crate) fn alarm(&self, name: &str) -> Alarm {
        Alarm { containers: self.clone(), name: name.to_owned() }
    }

    /// Answers when the container has to end, which it may have to already.
    pub(crate) fn watch(&self, name: &str, done: Completion<WatchResponse>) {
        let happened = {
            let mut containers = self.lock();
            match containers.get_mut(name) {
                Some(container) if !container.shared => match container.happened.take() {
                    Some(limitation) => limitation,
                    None => {
                        container.waiting = Some(done);
                        return;
                    }
                },
                _ => {
                    drop(containers);
                    return done.never();
                }
            }
        };
        done.complete(Ok(WatchResponse { limitation: Some(happened) }));
    }

    /// Forgets a container; whoever waits for its limitation will not get one.
    pub(crate) fn forget(&self, name: &str) -> Option<Known> {
        let mut known = self.lock().remove(name)?;
        if let Some(done) = known.waiting.take() {
            done.never();
        }
        Some(known)
    }
}

/// Ends one container, from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Alarm {
    containers: Containers,
    name: String,
}

impl Alarm {
    /// The container has to end. The first reason counts; one that is gone needs none.
    pub(crate) fn ring(&self, limitation: ContainerLimitation) {
        let waiting = {
            let mut containers = self.containers.lock();
            let Some(container) = containers.get_mut(&self.name) else { return };
            let waiting = container.waiting.take();
            if waiting.is_none() {
                container.happened.get_or_insert_with(|| limitation.clone());
            }
            waiting
        };
        if let Some(done) = waiting {
            done.complete(Ok(WatchResponse { limitation: Some(limitation) }));
        }
    }
}
