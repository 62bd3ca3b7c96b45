//! One thread that waits for events in all containers' cgroups.

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use mezzo_linux::cgroup::Readiness;
use mezzo_module_api::{Host, ModuleError};
use rustix::event::{EventfdFlags, Timespec, epoll};

/// Key of the descriptor that ends the thread.
const STOP: u64 = 0;

/// How often polled sources are looked at.
const ROUND: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// A source of events that knows what to do about them.
pub(crate) trait Watched: Send {
    /// Ready when there may be news, and for what.
    fn fd(&self) -> (BorrowedFd<'_>, Readiness);

    /// True when the kernel does not always tell: then it is looked at every now and then as well.
    fn is_polled(&self) -> bool {
        false
    }

    /// Something may have happened: empties the descriptor, does what has to be done. Called on the watching thread.
    fn look(&mut self) -> Next;
}

/// What becomes of a source after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// There may be more.
    Wait,
    /// It has told all it had to tell.
    Forget,
}

/// Waits for events of many cgroups on one thread.
#[derive(Debug)]
pub(crate) struct Watcher {
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
    /// `None` while the thread looks at it.
    by_key: HashMap<u64, Option<Box<dyn Watched>>>,
}

/// The key of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatchKey(u64);

impl Watcher {
    pub(crate) fn new(host: Host) -> Result<Self, ModuleError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        let stop = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(failed)?;
        epoll::add(&epoll, &stop, epoll::EventData::new_u64(STOP), epoll::EventFlags::IN)
            .map_err(failed)?;
        let shared = Arc::new(Shared { host, epoll, entries: Mutex::default() });
        Ok(Self { shared, stop, thread: Mutex::new(None) })
    }

    /// Looks at `source` whenever it is ready.
    pub(crate) fn add(&self, source: impl Watched + 'static) -> Result<WatchKey, ModuleError> {
        self.start()?;
        let mut entries = self.shared.entries();
        entries.last += 1;
        let key = entries.last;
        let data = epoll::EventData::new_u64(key);
        let (fd, readiness) = source.fd();
        let flags = match readiness {
            Readiness::Readable => epoll::EventFlags::IN,
            Readiness::Priority => epoll::EventFlags::PRI,
        };
        epoll::add(&self.shared.epoll, fd, data, flags).map_err(failed)?;
        entries.by_key.insert(key, Some(Box::new(source)));
        Ok(WatchKey(key))
    }

    /// Forgets a source; one that has told all is forgotten already.
    pub(crate) fn remove(&self, key: WatchKey) {
        let source = self.shared.entries().by_key.remove(&key.0).flatten();
        if let Some(source) = source {
            self.shared.end(source.as_ref());
        }
    }

    /// The thread is only there when there is something to wait for.
    fn start(&self) -> Result<(), ModuleError> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let run = move || shared.run();
            let spawned = std::thread::Builder::new().name("mezzo-cgroups".to_owned()).spawn(run);
            *thread = Some(spawned.map_err(|error| {
                ModuleError::internal(format!("cannot start a thread: {error}"))
            })?);
        }
        Ok(())
    }
}

impl Drop for Watcher {
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

    fn end(&self, source: &dyn Watched) {
        let _ = epoll::delete(&self.epoll, source.fd().0);
    }

    fn run(&self) {
        let mut events = Vec::with_capacity(64);
        loop {
            let room = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, room, Some(&ROUND)) {
                // A busy time has no rounds; what is polled can wait.
                Ok(0) => self.polled().into_iter().for_each(|key| self.look(key)),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    return self
                        .host
                        .error(format!("events of cgroups are no longer watched: {error}"));
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

    fn polled(&self) -> Vec<u64> {
        let is_polled = |source: &Option<Box<dyn Watched>>| {
            source.as_ref().is_some_and(|source| source.is_polled())
        };
        let entries = self.entries();
        entries.by_key.iter().filter(|(_, source)| is_polled(source)).map(|(key, _)| *key).collect()
    }

    /// Outside of the lock, because a look may take its time; who is removed meanwhile does not come back.
    fn look(&self, key: u64) {
        let taken = self.entries().by_key.get_mut(&key).and_then(Option::take);
        let Some(mut source) = taken else { return };
        let next = source.look();
        if next == Next::Wait
            && let Some(place) = self.entries().by_key.get_mut(&key)
        {
            *place = Some(source);
            return;
        }
        self.entries().by_key.remove(&key);
        self.end(source.as_ref());
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

fn failed(error: rustix::io::Errno) -> ModuleError {
    ModuleError::internal(format!("cannot watch for events of cgroups: {error}"))
}
