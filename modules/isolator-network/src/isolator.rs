//! The module: keeps the book, and the thread that looks.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use mezzo_linux::process::ProcessId;
use mezzo_model::ContainerId;
use mezzo_module_api::v1::{
    CleanupRequest, CleanupResponse, IsolateRequest, IsolateResponse, IsolatorCapabilitiesRequest,
    IsolatorCapabilitiesResponse, PrepareRequest, PrepareResponse, RecoverRequest, RecoverResponse,
    UpdateRequest, UpdateResponse, WatchRequest, WatchResponse,
};
use mezzo_module_api::{Code, Completion, Host, Isolator, ModuleError, Parameters};
use mezzo_proto::v1;

use crate::book::{Book, Container, ports};
use crate::scan;
use crate::settings::Settings;

/// Looks where containers listen.
#[derive(Debug)]
pub struct PortsIsolator {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and the calls have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) host: Host,
    pub(crate) settings: Settings,
    book: Mutex<Book>,
    /// Wakes the thread when the book says that it is over.
    stop: Condvar,
}

impl PortsIsolator {
    /// The isolator for these parameters; starts its thread.
    ///
    /// # Errors
    /// When a parameter is wrong or there can be no thread.
    pub fn new(host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        let settings = Settings::new(host.process(), &parameters)?;
        if settings.judged.as_ref().is_some_and(mezzo_model::Ranges::is_empty) {
            host.warn("there are no ports to judge: containers may listen where they want");
        }
        let shared =
            Arc::new(Shared { host, settings, book: Mutex::default(), stop: Condvar::new() });
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("mezzo-ports".to_owned())
            .spawn(move || for_thread.run())
            .map_err(|error| ModuleError::internal(format!("cannot start a thread: {error}")))?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Drop for PortsIsolator {
    fn drop(&mut self) {
        self.shared.book().stopping = true;
        self.shared.stop.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks again and again until the isolator goes.
    fn run(&self) {
        loop {
            let (book, _) = self
                .stop
                .wait_timeout_while(self.book(), self.settings.interval, |book| !book.stopping)
                .unwrap_or_else(PoisonError::into_inner);
            if book.stopping {
                return;
            }
            drop(book);
            scan::once(self);
        }
    }
}

impl Isolator for PortsIsolator {
    fn capabilities(
        &self,
        _: IsolatorCapabilitiesRequest,
    ) -> Result<IsolatorCapabilitiesResponse, ModuleError> {
        Ok(IsolatorCapabilitiesResponse { nesting: Some(true), standalone: Some(false) })
    }

    fn recover(&self, request: RecoverRequest) -> Result<RecoverResponse, ModuleError> {
        for state in request.states {
            let id = known(Some(&state.container_id))?;
            // The resources of the executor alone are not those of the container: they come with the first update.
            let container = Container::new(process(state.pid).ok().flatten(), None);
            self.shared.book().containers.insert(id, container);
        }
        Ok(RecoverResponse::default())
    }

    fn prepare(&self, request: PrepareRequest) -> Result<PrepareResponse, ModuleError> {
        let id = known(request.container_id.as_ref())?;
        let resources = request.config.map(|config| config.resources).unwrap_or_default();
        let allocated = (!id.is_nested()).then(|| ports(&resources));
        let mut book = self.shared.book();
        if book.containers.contains_key(&id) {
            let message = format!("container `{id}` has been prepared already");
            return Err(ModuleError::new(Code::AlreadyExists, message));
        }
        book.containers.insert(id, Container::new(None, allocated));
        Ok(PrepareResponse::default())
    }

    fn isolate(&self, request: IsolateRequest) -> Result<IsolateResponse, ModuleError> {
        let id = known(request.container_id.as_ref())?;
        let root = process(request.pid.unwrap_or_default())?;
        match self.shared.book().containers.get_mut(&id) {
            Some(container) => container.root = root,
            None => {
                return Err(ModuleError::not_found(format!("container `{id}` was not prepared")));
            }
        }
        Ok(IsolateResponse::default())
    }

    fn watch(&self, request: WatchRequest, done: Completion<WatchResponse>) {
        let id = known(request.container_id.as_ref()).ok().filter(|id| !id.is_nested());
        // A limitation is always the outermost container's; of one that is unknown there is nothing to tell.
        match id.and_then(|id| self.shared.book().limit_of(&id)) {
            Some(limit) => limit.watch(done),
            None => done.never(),
        }
    }

    fn update(&self, request: UpdateRequest) -> Result<UpdateResponse, ModuleError> {
        if let Ok(id) = known(request.container_id.as_ref())
            && !id.is_nested()
            && let Some(container) = self.shared.book().containers.get_mut(&id)
        {
            container.allocated = Some(ports(&request.requests));
        }
        Ok(UpdateResponse::default())
    }

    fn cleanup(&self, request: CleanupRequest) -> Result<CleanupResponse, ModuleError> {
        if let Ok(id) = known(request.container_id.as_ref()) {
            let container = self.shared.book().containers.remove(&id);
            // Without the lock: whoever watched is told now that there will be nothing.
            drop(container);
        }
        Ok(CleanupResponse::default())
    }
}

fn known(id: Option<&v1::ContainerId>) -> Result<ContainerId, ModuleError> {
    let id = id.ok_or_else(|| ModuleError::invalid("container_id is missing"))?;
    ContainerId::from_proto(id).map_err(|error| ModuleError::invalid(error.to_string()))
}

/// The process of this pid, if it is still there.
fn process(pid: u64) -> Result<Option<ProcessId>, ModuleError> {
    let wrong = || ModuleError::invalid(format!("pid is {pid}, expected a process id above 0"));
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0).ok_or_else(wrong)?;
    ProcessId::of(pid).map_err(|error| ModuleError::internal(error.to_string()))
}
