//! An instance of a module, called by number or by its trait; whatever it does is written down.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mezzo_module_abi::PANIC_PREFIX;
use mezzo_module_api::v1::CreateModuleRequest;
use mezzo_module_api::{
    Allocator, AllocatorMethod, Code, Completion, Hook, HookMethod, Host, Instance, Isolator,
    IsolatorMethod, Kind, ModuleError, Parameters, Remote, Transport,
};

use crate::subject::Book;

/// An instance.
pub(crate) struct Made {
    kind: Kind,
    wire: Wire,
    remote: Remote<Wire>,
}

impl Made {
    pub(crate) fn new(kind: Kind, inner: Box<dyn Transport>, book: Arc<Mutex<Book>>) -> Self {
        let wire = Wire { inner: inner.into(), kind, book };
        Self { kind, remote: Remote::new(wire.clone()), wire }
    }

    /// Its calls by number.
    pub(crate) fn raw(&self) -> &dyn Transport {
        &self.wire
    }

    pub(crate) fn allocator(&self) -> &dyn Allocator {
        &self.remote
    }

    pub(crate) fn isolator(&self) -> &dyn Isolator {
        &self.remote
    }

    pub(crate) fn hook(&self) -> &dyn Hook {
        &self.remote
    }

    /// The numbers of the methods of its kind, those that are answered at once and those that are answered later.
    pub(crate) fn methods(&self) -> (Vec<u32>, Vec<u32>) {
        let numbers: Vec<u32> = match self.kind {
            Kind::Allocator => AllocatorMethod::ALL.iter().map(|method| method.number()).collect(),
            Kind::Isolator => IsolatorMethod::ALL.iter().map(|method| method.number()).collect(),
            _ => HookMethod::ALL.iter().map(|method| method.number()).collect(),
        };
        let later =
            |number: &u32| self.kind == Kind::Isolator && *number == IsolatorMethod::Watch.number();
        numbers.into_iter().partition(|number| !later(number))
    }
}

/// A way to a module that notices panics and slow calls.
#[derive(Clone)]
struct Wire {
    inner: Arc<dyn Transport>,
    kind: Kind,
    book: Arc<Mutex<Book>>,
}

impl Wire {
    fn note(&self, method: u32, start: Instant, error: Option<&ModuleError>) {
        let name = self.kind.method_name(method);
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.took(name, start.elapsed());
        if let Some(error) = error.filter(|error| error.message.starts_with(PANIC_PREFIX)) {
            book.panicked(name, &error.message);
        }
    }
}

impl Transport for Wire {
    fn call(&self, method: u32, request: &[u8]) -> Result<Vec<u8>, ModuleError> {
        let start = Instant::now();
        let answer = self.inner.call(method, request);
        self.note(method, start, answer.as_ref().err());
        answer
    }

    fn start(&self, method: u32, request: &[u8], done: Completion<Vec<u8>>) {
        let start = Instant::now();
        self.inner.start(method, request, done);
        self.note(method, start, None);
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

/// A module that is linked in, behind the fence that the boundary puts around a loaded one.
pub(crate) struct Linked {
    /// `None` while it is dropped.
    instance: Option<Instance>,
    book: Arc<Mutex<Book>>,
}

impl Linked {
    pub(crate) fn make(
        host: Host,
        request: CreateModuleRequest,
        constructor: &(dyn Fn(Host, Parameters) -> Result<Instance, ModuleError> + Send + Sync),
        book: &Arc<Mutex<Book>>,
    ) -> Result<Self, ModuleError> {
        let instance = fenced(|| constructor(host, Parameters::new(request.parameters)))?;
        Ok(Self { instance: Some(instance), book: Arc::clone(book) })
    }
}

impl Transport for Linked {
    fn call(&self, method: u32, request: &[u8]) -> Result<Vec<u8>, ModuleError> {
        fenced(|| self.instance.as_ref().ok_or_else(gone)?.call(method, request))
    }

    fn start(&self, method: u32, request: &[u8], done: Completion<Vec<u8>>) {
        let started = fenced(|| {
            self.instance.as_ref().ok_or_else(gone)?.start(method, request, done);
            Ok(())
        });
        if let Err(error) = started {
            let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            book.panicked(&format!("start {method}"), &error.message);
        }
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        let instance = self.instance.take();
        let dropped = fenced(|| {
            drop(instance);
            Ok(())
        });
        if let Err(error) = dropped {
            self.book
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .panicked("drop", &error.message);
        }
    }
}

fn gone() -> ModuleError {
    ModuleError::internal("the module has been dropped")
}

fn fenced<T>(f: impl FnOnce() -> Result<T, ModuleError>) -> Result<T, ModuleError> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        Err(ModuleError::new(
            Code::Internal,
            format!("{PANIC_PREFIX}{}", text_of(payload.as_ref())),
        ))
    })
}

/// What a panic said.
pub(crate) fn text_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("(no text)")
}
