//! Keeps count of a module's calls, and gives it a host to talk to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mezzo_module_abi::PANIC_PREFIX;
use mezzo_module_api::v1::{CounterStatus, MethodStatus};
use mezzo_module_api::{
    AllocatorMethod, Code, Completion, HookMethod, HostServices, IsolatorMethod, Kind, Level,
    ModuleError, Transport,
};

/// What has been asked of one module.
pub(crate) struct Meter {
    module: String,
    kind: Kind,
    /// By method number.
    methods: BTreeMap<u32, Counts>,
    counters: Mutex<BTreeMap<String, u64>>,
}

#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    errors: AtomicU64,
    panics: AtomicU64,
    total_nanos: AtomicU64,
    max_nanos: AtomicU64,
}

impl Meter {
    pub(crate) fn new(module: &str, kind: Kind) -> Arc<Self> {
        let numbers: Vec<u32> = match kind {
            Kind::Allocator => AllocatorMethod::ALL.iter().map(|method| method.number()).collect(),
            Kind::Isolator => IsolatorMethod::ALL.iter().map(|method| method.number()).collect(),
            Kind::Hook => HookMethod::ALL.iter().map(|method| method.number()).collect(),
            _ => Vec::new(),
        };
        let methods = numbers.into_iter().map(|number| (number, Counts::default())).collect();
        Arc::new(Self { module: module.to_owned(), kind, methods, counters: Mutex::default() })
    }

    /// Methods that have been called.
    pub(crate) fn methods(&self) -> Vec<MethodStatus> {
        let called = self.methods.iter().filter(|(_, counts)| counts.calls.load(Relaxed) > 0);
        called
            .map(|(number, counts)| MethodStatus {
                method: Some(self.kind.method_name(*number).to_owned()),
                calls: Some(counts.calls.load(Relaxed)),
                errors: Some(counts.errors.load(Relaxed)),
                panics: Some(counts.panics.load(Relaxed)),
                total_nanos: Some(counts.total_nanos.load(Relaxed)),
                max_nanos: Some(counts.max_nanos.load(Relaxed)),
                ..MethodStatus::default()
            })
            .collect()
    }

    /// What the module counts by itself.
    pub(crate) fn counters(&self) -> Vec<CounterStatus> {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters
            .iter()
            .map(|(name, value)| CounterStatus { name: Some(name.clone()), value: Some(*value) })
            .collect()
    }

    fn called(&self, method: u32, start: Instant) {
        let Some(counts) = self.methods.get(&method) else { return };
        let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        counts.calls.fetch_add(1, Relaxed);
        counts.total_nanos.fetch_add(nanos, Relaxed);
        counts.max_nanos.fetch_max(nanos, Relaxed);
    }

    fn failed(&self, method: u32, error: &ModuleError) {
        // "I do not do this" is an answer.
        if matches!(error.code, Code::Unimplemented) {
            return;
        }
        let panicked = error.message.starts_with(PANIC_PREFIX);
        if let Some(counts) = self.methods.get(&method) {
            counts.errors.fetch_add(1, Relaxed);
            counts.panics.fetch_add(u64::from(panicked), Relaxed);
        }
        let function = self.kind.method_name(method);
        if panicked {
            tracing::error!(module = %self.module, function, "{}", error.message);
        } else {
            tracing::debug!(module = %self.module, function, %error, "module call failed");
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("module", &self.module).finish_non_exhaustive()
    }
}

/// A way to a module, with a meter in it.
pub(crate) struct Metered<T> {
    inner: T,
    meter: Arc<Meter>,
}

impl<T> Metered<T> {
    pub(crate) fn new(inner: T, meter: Arc<Meter>) -> Self {
        Self { inner, meter }
    }
}

impl<T: Transport> Transport for Metered<T> {
    fn call(&self, method: u32, request: &[u8]) -> Result<Vec<u8>, ModuleError> {
        let function = self.meter.kind.method_name(method);
        let span = tracing::debug_span!("module_call", module = %self.meter.module, function);
        let start = Instant::now();
        let result = span.in_scope(|| self.inner.call(method, request));
        self.meter.called(method, start);
        if let Err(error) = &result {
            self.meter.failed(method, error);
        }
        result
    }

    fn start(&self, method: u32, request: &[u8], done: Completion<Vec<u8>>) {
        let (answered, unanswered) = share(done);
        let meter = Arc::clone(&self.meter);
        let start = Instant::now();
        let done = Completion::with_never(
            move |result| {
                if let Err(error) = &result {
                    meter.failed(method, error);
                }
                if let Some(done) = answered() {
                    done.complete(result);
                }
            },
            move || {
                if let Some(done) = unanswered() {
                    done.never();
                }
            },
        );
        self.inner.start(method, request, done);
        self.meter.called(method, start);
    }
}

/// Two hands on one completion; the first that takes it has it.
fn share<T: 'static>(
    done: Completion<T>,
) -> (impl FnOnce() -> Option<Completion<T>> + Send, impl FnOnce() -> Option<Completion<T>> + Send)
{
    let first = Arc::new(Mutex::new(Some(done)));
    let second = Arc::clone(&first);
    let take = |slot: &Mutex<Option<Completion<T>>>| {
        slot.lock().unwrap_or_else(PoisonError::into_inner).take()
    };
    (move || take(&first), move || take(&second))
}

/// The host as a module sees it: its lines go to our log, its counters to the meter.
pub(crate) struct Services {
    pub(crate) meter: Arc<Meter>,
}

impl HostServices for Services {
    fn log(&self, level: Level, message: &str) {
        let module = self.meter.module.as_str();
        match level {
            Level::Error => tracing::error!(module, "{message}"),
            Level::Warn => tracing::warn!(module, "{message}"),
            Level::Info => tracing::info!(module, "{message}"),
            Level::Debug => tracing::debug!(module, "{message}"),
            Level::Trace => tracing::trace!(module, "{message}"),
        }
    }

    fn count(&self, counter: &str, delta: u64) {
        let mut counters = self.meter.counters.lock().unwrap_or_else(PoisonError::into_inner);
        match counters.get_mut(counter) {
            Some(value) => *value = value.saturating_add(delta),
            None => {
                counters.insert(counter.to_owned(), delta);
            }
        }
    }
}
