//! What the isolator knows, shared by the calls and the thread that measures.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mezzo_module_api::{Host, LimitWatch};
use mezzo_proto::v1::Resource;

use super::rota::{Key, Rota};
use crate::places::{Place, Quota, places};

/// The parameters.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Between two measurements of a place.
    pub(crate) interval: Duration,
    /// Too much disk ends a container.
    pub(crate) enforce: bool,
    /// Where the agent keeps persistent volumes.
    pub(crate) volumes: Option<PathBuf>,
}

pub(crate) struct Shared {
    pub(crate) host: Host,
    pub(crate) settings: Settings,
    /// Something to measure, nothing more to measure, or a measurement has ended.
    pub(crate) changed: Condvar,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) containers: HashMap<String, Container>,
    pub(crate) places: HashMap<Key, (String, Place)>,
    pub(crate) rota: Rota,
    pub(crate) walking: Option<Walking>,
    pub(crate) stopping: bool,
}

/// The measurement that is going on.
pub(crate) struct Walking {
    pub(crate) key: Key,
    pub(crate) cancelled: Arc<AtomicBool>,
}

pub(crate) struct Container {
    pub(crate) sandbox: PathBuf,
    pub(crate) ephemeral_volumes: Vec<PathBuf>,
    pub(crate) places: BTreeMap<Place, Measured>,
    pub(crate) limit: Arc<LimitWatch>,
}

/// A place, what may be used there and what is.
pub(crate) struct Measured {
    pub(crate) key: Key,
    pub(crate) quota: Quota,
    /// `None` before the first walk has ended.
    pub(crate) used: Option<u64>,
    /// What cannot be measured is told once per place, not once per interval.
    pub(crate) complained: bool,
}

impl Measured {
    /// More than this ends the container.
    pub(crate) fn limit(&self, settings: &Settings) -> Option<u64> {
        (settings.enforce && !self.quota.is_whole_disk()).then(|| self.quota.bytes())
    }
}

impl Shared {
    pub(crate) fn new(host: Host, settings: Settings) -> Self {
        let rota = Rota::new(settings.interval);
        let state = State {
            containers: HashMap::new(),
            places: HashMap::new(),
            rota,
            walking: None,
            stopping: false,
        };
        Self { host, settings, changed: Condvar::new(), state: Mutex::new(state) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(crate) fn insert(&mut self, name: &str, sandbox: PathBuf, ephemeral_volumes: Vec<PathBuf>) {
        let container = Container {
            sandbox,
            ephemeral_volumes,
            places: BTreeMap::new(),
            limit: Arc::default(),
        };
        self.containers.insert(name.to_owned(), container);
    }

    /// The container's disk resources are these now. What stays keeps its figure.
    pub(crate) fn set_resources(&mut self, name: &str, resources: &[Resource], now: Instant) {
        let Some(container) = self.containers.get_mut(name) else { return };
        let mut before = std::mem::take(&mut container.places);
        for (place, quota) in places(resources) {
            let measured = match before.remove(&place) {
                Some(measured) => Measured { quota, ..measured },
                None => {
                    let key = self.rota.add(now);
                    self.places.insert(key, (name.to_owned(), place.clone()));
                    Measured { key, quota, used: None, complained: false }
                }
            };
            container.places.insert(place, measured);
        }
        for gone in before.into_values() {
            self.forget(gone.key);
        }
    }

    /// A place is gone. A walk that is busy with it is told to end.
    pub(crate) fn forget(&mut self, key: Key) {
        self.rota.remove(key);
        self.places.remove(&key);
        if let Some(walking) = self.walking.as_ref().filter(|walking| walking.key == key) {
            walking.cancelled.store(true, Ordering::Relaxed);
        }
    }
}
