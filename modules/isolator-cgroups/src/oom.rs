//! One thread that waits for all containers' out-of-memory events.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use mezzo_linux::cgroup::{OomEvent, OomWatch};
use mezzo_module_api::{Host, ModuleError};
use rustix::event::{EventfdFlags, epoll};

/// Key of the descriptor that ends the thread.
const STOP: u64 = 0;

/// What is done when a container has run out of memory.
type Alarm = Box<dyn FnOnce() + Send>;

/// Waits for events of many cgroups on one thread.
#[derive(Debug)]
pub(crate) struct OomWatcher {
    shared: Arc<Shared>,
    stop: OwnedFd,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    host: Host,
    epoll: OwnedFd,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    last: u64,
    by_key: HashMap<u64, (OomWatch, Alarm)>,
}

/// The key of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatchKey(u64);

impl OomWatcher {
    pub(crate) fn new(host: Host) -> Result<Self, ModuleError> {
        let failed = |error| {
            ModuleError::internal(format!("cannot watch for out-of-memory events: {error}"))
        };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        let stop = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(failed)?;
        epoll::add(&epoll, &stop, epoll::EventData::new_u64(STOP), epoll::EventFlags::IN)
            .map_err(failed)?;
        let shared = Arc::new(Shared { host, epoll, entries: Mutex::default() });
        Ok(Self { shared, stop, thread: Mutex::new(None) })
    }

    /// Calls `alarm` once, on the watching thread, when `watch` tells an event.
    pub(crate) fn add(
        &self,
        watch: OomWatch,
        alarm: impl FnOnce() + Send + 'static,
    ) -> Result<WatchKey, ModuleError> {
        self.start()?;
        let mut entries = self.shared.entries();
        entries.last += 1;
        let key = entries.last;
        epoll::add(
            &self.shared.epoll,
            watch.as_fd(),
            epoll::EventData::new_u64(key),
            epoll::EventFlags::IN,
        )
        .map_err(|error| {
            ModuleError::internal(format!("cannot watch for out-of-memory events: {error}"))
        })?;
        entries.by_key.insert(key, (watch, Box::new(alarm)));
        Ok(WatchKey(key))
    }

    /// Forgets a watch; one that has told its event is gone already.
    pub(crate) fn remove(&self, key: WatchKey) {
        self.shared.take(key.0);
    }

    /// The thread is only there when there is something to wait for.
    fn start(&self) -> Result<(), ModuleError> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let run = move || shared.run();
            let spawned = std::thread::Builder::new().name("mezzo-oom".to_owned()).spawn(run);
            *thread = Some(spawned.map_err(|error| {
                ModuleError::internal(format!("cannot start a thread: {error}"))
            })?);
        }
        Ok(())
    }
}

impl Drop for OomWatcher {
    fn drop(&mut self) {
        // Eight bytes of a counter cannot fail on an eventfd that is never full; without it the thread would stay.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, key: u64) -> Option<(OomWatch, Alarm)> {
        let (watch, alarm) = self.entries().by_key.remove(&key)?;
        let _ = epoll::delete(&self.epoll, watch.as_fd());
        Some((watch, alarm))
    }

    fn run(&self) {
        let mut events = Vec::with_capacity(64);
        loop {
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    return self
                        .host
                        .error(format!("out-of-memory events are no longer watched: {error}"));
                }
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    STOP => return,
                    key => self.look(key),
                }
            }
        }
    }

    /// Something happened in a cgroup: an event, its removal, or nothing that matters.
    fn look(&self, key: u64) {
        let told = {
            let mut entries = self.entries();
            let Some((watch, _)) = entries.by_key.get_mut(&key) else { return };
            watch.check()
        };
        match told {
            Ok(OomEvent::Nothing) => {}
            Ok(OomEvent::OutOfMemory { .. }) => {
                // Outside of the lock: the alarm may take its time.
                if let Some((_, alarm)) = self.take(key) {
                    alarm();
                }
            }
            Ok(OomEvent::Removed) => drop(self.take(key)),
            Err(error) => {
                self.host.warn(format!("cannot read out-of-memory events: {error}"));
                drop(self.take(key));
            }
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
