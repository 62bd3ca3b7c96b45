//! The real containerizer: a registry of containers, each with a task that owns it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use mezzo_model::ContainerId;
use mezzo_module_api::v1::UpdateRequest;
use mezzo_proto::v1::{ContainerStatus, Resource, ResourceStatistics, value};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::container::{self, Allowance, Beginning, Container, Ended};
use crate::containerizer::{
    ContainerSpec, Containerizer, Launched, RecoveredContainer, Recovery, Termination,
};
use crate::launcher::{Launcher, LinuxLauncher};
use crate::pipeline::Job;
use crate::{
    DestroyError, LaunchError, RecoverError, UpdateError, UsageError, isolators, recovery, usage,
};

/// How many ended containers are remembered, so that a wait that comes a little late is answered.
const REMEMBERED: usize = 4096;

/// Starts containers with `mezzo-launcher` and isolator modules. Cheap to clone. Its methods must be called within a tokio
/// runtime.
#[derive(Clone)]
pub struct MezzoContainerizer {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) launcher: Arc<dyn Launcher>,
    turn: Arc<Semaphore>,
    /// The tasks that own containers; each ends with its container.
    owners: TaskTracker,
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    containers: HashMap<ContainerId, Arc<Container>>,
    /// Those of them that have ended, in the order of their ends.
    ended: VecDeque<ContainerId>,
}

impl MezzoContainerizer {
    /// A containerizer without containers. [`Containerizer::recover`] comes first.
    pub fn new(config: Config) -> Self {
        let launcher = Arc::new(LinuxLauncher { binary: config.launcher.clone() });
        Self::with_launcher(config, launcher)
    }

    pub(crate) fn with_launcher(config: Config, launcher: Arc<dyn Launcher>) -> Self {
        let turn = Arc::new(Semaphore::new(config.launches_at_once.max(1)));
        let config = Arc::new(config);
        let shared = Shared {
            config,
            launcher,
            turn,
            owners: TaskTracker::new(),
            registry: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Shared {
    fn find(&self, id: &ContainerId) -> Option<Arc<Container>> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).containers.get(id).cloned()
    }

    fn find_alive(&self, id: &ContainerId) -> Result<Arc<Container>, UsageError> {
        self.find(id).filter(|c| c.is_alive()).ok_or_else(|| UsageError::Unknown(id.clone()))
    }

    /// Makes the container known; false if its id is taken.
    pub(crate) fn enter(&self, container: &Arc<Container>) -> bool {
        use std::collections::hash_map::Entry;
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        match registry.containers.entry(container.spec.container_id.clone()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(Arc::clone(container));
                true
            }
        }
    }

    /// Starts the task that owns a container.
    pub(crate) fn own(self: &Arc<Self>, container: Arc<Container>, job: Job, beginning: Beginning) {
        let shared = Arc::clone(self);
        let id = container.spec.container_id.clone();
        self.owners.spawn(container::own(container, job, beginning, move |launched| {
            shared.gone(&id, launched)
        }));
    }

    fn gone(&self, id: &ContainerId, launched: bool) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if !launched {
            registry.containers.remove(id);
            return;
        }
        registry.ended.push_back(id.clone());
        if registry.ended.len() > REMEMBERED
            && let Some(oldest) = registry.ended.pop_front()
        {
            registry.containers.remove(&oldest);
        }
    }
}

impl Containerizer for MezzoContainerizer {
    fn launch(&self, spec: ContainerSpec) -> BoxFuture<'static, Result<Launched, LaunchError>> {
        let id = spec.container_id.clone();
        if id.is_nested() || ContainerId::parse(id.as_str()).is_err() {
            return ready(Err(LaunchError::InvalidId(id.to_string())));
        }
        let spec = Arc::new(spec);
        let allowance = Allowance {
            requests: spec.config.resources.clone(),
            limits: spec.config.limits.clone(),
        };
        let container = Arc::new(Container::new(Arc::clone(&spec), Some(allowance)));
        if !self.shared.enter(&container) {
            return ready(Err(LaunchError::Exists(id)));
        }
        let job =
            Job::new(Arc::clone(&self.shared.config), Arc::clone(&self.shared.launcher), spec);
        let (outcome, answer) = oneshot::channel();
        self.shared.own(
            container,
            job,
            Beginning::Launch { turn: Arc::clone(&self.shared.turn), outcome },
        );
        Box::pin(async move {
            answer.await.unwrap_or_else(|_| Err(LaunchError::CutOff("its task is gone".to_owned())))
        })
    }

    fn update(
        &self,
        id: &ContainerId,
        requests: Vec<Resource>,
        limits: BTreeMap<String, value::Scalar>,
    ) -> BoxFuture<'static, Result<(), UpdateError>> {
        let Some(container) = self.shared.find(id).filter(|c| c.is_alive()) else {
            return ready(Ok(()));
        };
        container.allow(Allowance { requests: requests.clone(), limits: limits.clone() });
        let (config, id) = (Arc::clone(&self.shared.config), id.clone());
        Box::pin(async move {
            let request = UpdateRequest { container_id: Some((&id).into()), requests, limits };
            let patience = config.module_call_timeout;
            isolators::update(&config.isolators, &id, &request, patience).await
        })
    }

    fn wait(&self, id: &ContainerId) -> BoxFuture<'static, Option<Termination>> {
        let container = self.shared.find(id);
        Box::pin(async move { Some(container?.ended().await.termination.clone()) })
    }

    fn destroy(
        &self,
        id: &ContainerId,
    ) -> BoxFuture<'static, Result<Option<Termination>, DestroyError>> {
        let Some(container) = self.shared.find(id) else { return ready(Ok(None)) };
        let id = id.clone();
        let outcome = container.destroy();
        Box::pin(async move {
            match outcome.await {
                Err(stuck) => Err(DestroyError::Stuck { container: id, reason: stuck.0 }),
                Ok(ended) => destroyed(id, &ended).map(Some),
            }
        })
    }

    fn usage(
        &self,
        id: &ContainerId,
    ) -> BoxFuture<'static, Result<ResourceStatistics, UsageError>> {
        let container = self.shared.find_alive(id);
        let config = Arc::clone(&self.shared.config);
        Box::pin(async move { Ok(usage::statistics(&config, &*container?).await) })
    }

    fn status(&self, id: &ContainerId) -> BoxFuture<'static, Result<ContainerStatus, UsageError>> {
        let container = self.shared.find_alive(id);
        let config = Arc::clone(&self.shared.config);
        Box::pin(async move { Ok(usage::status(&config, &*container?).await) })
    }

    fn recover(
        &self,
        containers: Vec<RecoveredContainer>,
    ) -> BoxFuture<'static, Result<Recovery, RecoverError>> {
        Box::pin(recovery::recover(Arc::clone(&self.shared), containers))
    }

    fn containers(&self) -> Vec<ContainerId> {
        let registry = self.shared.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry
            .containers
            .iter()
            .filter(|(_, c)| !c.has_ended())
            .map(|(id, _)| id.clone())
            .collect()
    }
}

fn destroyed(container: ContainerId, ended: &Ended) -> Result<Termination, DestroyError> {
    if ended.leftovers.is_empty() {
        return Ok(ended.termination.clone());
    }
    Err(DestroyError::Cleanup { container, reason: ended.leftovers.join("; ") })
}

fn ready<T: Send + 'static>(value: T) -> BoxFuture<'static, T> {
    Box::pin(std::future::ready(value))
}
