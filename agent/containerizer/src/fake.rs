//! A containerizer that keeps its containers in memory: for tests of whoever uses one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use mezzo_model::ContainerId;
use mezzo_proto::v1::{ContainerStatus, Resource, ResourceStatistics, value};
use tokio::sync::watch;

use crate::{
    ContainerSpec, Containerizer, DestroyError, ExitStatus, LaunchError, Launched, RecoverError,
    RecoveredContainer, Recovery, Termination, UpdateError, UsageError,
};

/// Containers in memory. Cheap to clone; clones share everything.
///
/// A launch succeeds at once unless [`fail_next_launch`](Self::fail_next_launch) was called; a container runs until
/// [`finish`](Self::finish) or `destroy`.
#[derive(Clone, Debug, Default)]
pub struct FakeContainerizer {
    state: Arc<Mutex<State>>,
    /// Counts what has happened, so that a test can wait.
    happened: Arc<watch::Sender<u64>>,
}

/// A launch that was asked for.
#[derive(Clone, Debug)]
pub struct FakeLaunch {
    /// With what.
    pub spec: ContainerSpec,
    /// The pid that was given to it.
    pub pid: u32,
}

#[derive(Debug, Default)]
struct State {
    launches: Vec<FakeLaunch>,
    ends: HashMap<ContainerId, watch::Sender<Option<Termination>>>,
    failures: VecDeque<String>,
    updates: Vec<(ContainerId, Vec<Resource>, BTreeMap<String, value::Scalar>)>,
    destroyed: Vec<ContainerId>,
}

impl FakeContainerizer {
    /// One without containers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the next launch fail with these words.
    pub fn fail_next_launch(&self, why: impl Into<String>) {
        self.state().failures.push_back(why.into());
    }

    /// All launches so far, also of containers that have ended.
    pub fn launches(&self) -> Vec<FakeLaunch> {
        self.state().launches.clone()
    }

    /// All updates so far.
    pub fn updates(&self) -> Vec<(ContainerId, Vec<Resource>, BTreeMap<String, value::Scalar>)> {
        self.state().updates.clone()
    }

    /// The containers that `destroy` was called for, in order.
    pub fn destroyed(&self) -> Vec<ContainerId> {
        self.state().destroyed.clone()
    }

    /// Ends a container in this way. False if there is none, or it has ended.
    pub fn finish(&self, id: &ContainerId, termination: Termination) -> bool {
        let ended = self.state().ends.get(id).is_some_and(|end| {
            end.send_if_modified(|now| {
                let first = now.is_none();
                now.get_or_insert(termination);
                first
            })
        });
        self.tell();
        ended
    }

    /// Waits until `condition` holds; looks again whenever something has happened.
    pub async fn wait_until(&self, condition: impl Fn(&Self) -> bool) {
        let mut happened = self.happened.subscribe();
        while !condition(self) {
            if happened.changed().await.is_err() {
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.happened.send_modify(|count| *count += 1);
    }

    fn start(&self, spec: ContainerSpec) -> Result<Launched, LaunchError> {
        let mut state = self.state();
        if let Some(why) = state.failures.pop_front() {
            return Err(LaunchError::InvalidCommand(why));
        }
        if state.ends.contains_key(&spec.container_id) {
            return Err(LaunchError::Exists(spec.container_id));
        }
        state.ends.insert(spec.container_id.clone(), watch::Sender::new(None));
        let pid = u32::try_from(state.launches.len()).unwrap_or(u32::MAX).saturating_add(100_000);
        state.launches.push(FakeLaunch { spec, pid });
        Ok(Launched { pid })
    }

    fn alive(&self, id: &ContainerId) -> Result<(), UsageError> {
        let alive = self.state().ends.get(id).is_some_and(|end| end.borrow().is_none());
        if alive { Ok(()) } else { Err(UsageError::Unknown(id.clone())) }
    }
}

impl Containerizer for FakeContainerizer {
    fn launch(&self, spec: ContainerSpec) -> BoxFuture<'static, Result<Launched, LaunchError>> {
        let outcome = self.start(spec);
        self.tell();
        Box::pin(std::future::ready(outcome))
    }

    fn update(
        &self,
        id: &ContainerId,
        requests: Vec<Resource>,
        limits: BTreeMap<String, value::Scalar>,
    ) -> BoxFuture<'static, Result<(), UpdateError>> {
        self.state().updates.push((id.clone(), requests, limits));
        self.tell();
        Box::pin(std::future::ready(Ok(())))
    }

    fn wait(&self, id: &ContainerId) -> BoxFuture<'static, Option<Termination>> {
        let end = self.state().ends.get(id).map(watch::Sender::subscribe);
        Box::pin(
            async move { end?.wait_for(Option::is_some).await.ok().and_then(|end| end.clone()) },
        )
    }

    fn destroy(
        &self,
        id: &ContainerId,
    ) -> BoxFuture<'static, Result<Option<Termination>, DestroyError>> {
        self.state().destroyed.push(id.clone());
        self.finish(
            id,
            Termination { exit: Some(ExitStatus::Signaled(9)), ..Termination::default() },
        );
        let end = self.wait(id);
        Box::pin(async move { Ok(end.await) })
    }

    fn usage(
        &self,
        id: &ContainerId,
    ) -> BoxFuture<'static, Result<ResourceStatistics, UsageError>> {
        Box::pin(std::future::ready(self.alive(id).map(|()| ResourceStatistics::default())))
    }

    fn status(&self, id: &ContainerId) -> BoxFuture<'static, Result<ContainerStatus, UsageError>> {
        let status =
            ContainerStatus { container_id: Some(id.into()), ..ContainerStatus::default() };
        Box::pin(std::future::ready(self.alive(id).map(|()| status)))
    }

    /// All containers that are asked for run on.
    fn recover(
        &self,
        containers: Vec<RecoveredContainer>,
    ) -> BoxFuture<'static, Result<Recovery, RecoverError>> {
        let mut recovery = Recovery::default();
        for container in containers {
            self.state()
                .ends
                .entry(container.container_id.clone())
                .or_insert_with(|| watch::Sender::new(None));
            recovery.running.push(container.container_id);
        }
        self.tell();
        Box::pin(std::future::ready(Ok(recovery)))
    }

    fn containers(&self) -> Vec<ContainerId> {
        self.state()
            .ends
            .iter()
            .filter(|(_, end)| end.borrow().is_none())
            .map(|(id, _)| id.clone())
            .collect()
    }
}
