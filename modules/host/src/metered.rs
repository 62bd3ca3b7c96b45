//! Keeps count of a module's calls, and gives it a host to talk to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mezzo_module_abi::PANIC_PREFIX;
use mezzo_module_api::v1::{CounterStatus, MethodStatus};
use mezzo_module_api::{
    AllocatorMethod, Code, Completion, HookMethod, HostServices, IsolatorMethod, Kind, Level,
    ModuleError, Transport,
};

use crate::clean;
use crate::inflight::{Call, InFlight, LAST_METHOD, Slot};
use crate::watchdog::{StuckCall, is_due};

/// What stands for the constructor among the methods, which are counted from 1.
pub(crate) const CONSTRUCTOR: u32 = 0;
/// What stands for the end of a module.
const DROP: u32 = LAST_METHOD;

/// What has been asked of one module.
pub(crate) struct Meter {
    module: String,
    kind: Kind,
    /// By method number; the constructor first.
    methods: Box<[Counts]>,
    drop: Counts,
    inside: InFlight,
    /// How long a call may take.
    limit: Duration,
    counters: Mutex<BTreeMap<String, u64>>,
}

#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    errors: AtomicU64,
    panics: AtomicU64,
    overdue: AtomicU64,
    total_nanos: AtomicU64,
    max_nanos: AtomicU64,
}

impl Meter {
    /// Calls that take longer than `limit` are counted as overdue; none if it is zero.
    pub(crate) fn new(module: &str, kind: Kind, limit: Duration) -> Arc<Self> {
        let last = match kind {
            Kind::Allocator => AllocatorMethod::ALL.iter().map(|method| method.number()).max(),
            Kind::Isolator => IsolatorMethod::ALL.iter().map(|method| method.number()).max(),
            Kind::Hook => HookMethod::ALL.iter().map(|method| method.number()).max(),
            _ => None,
        };
        Arc::new(Self {
            module: module.to_owned(),
            kind,
            methods: (0..=last.unwrap_or_default()).map(|_| Counts::default()).collect(),
            drop: Counts::default(),
            inside: InFlight::new(),
            limit: if limit.is_zero() { Duration::MAX } else { limit },
            counters: Mutex::default(),
        })
    }

    /// A call begins; it ends when what is returned is dropped.
    pub(crate) fn enter(&self, method: u32) -> Inside<'_> {
        let began = Instant::now();
        Inside { meter: self, method, began, slot: self.inside.enter(method, began) }
    }

    /// Methods that have been called.
    pub(crate) fn methods(&self) -> Vec<MethodStatus> {
        let running: Vec<u32> = self.inside.calls().map(Call::method).collect();
        let numbers = (0..).take(self.methods.len()).chain([DROP]);
        let status = numbers.filter_map(|number| {
            let counts = self.counts(number)?;
            let running = running.iter().filter(|method| **method == number).count();
            let (calls, overdue) = (counts.calls.load(Relaxed), counts.overdue.load(Relaxed));
            // That a module was made goes without saying, unless it took too long.
            let silent = matches!(number, CONSTRUCTOR | DROP) || calls == 0;
            if silent && running == 0 && overdue == 0 {
                return None;
            }
            Some(MethodStatus {
                method: Some(self.function(number).to_owned()),
                calls: Some(calls),
                errors: Some(counts.errors.load(Relaxed)),
                panics: Some(counts.panics.load(Relaxed)),
                total_nanos: Some(counts.total_nanos.load(Relaxed)),
                max_nanos: Some(counts.max_nanos.load(Relaxed)),
                running: Some(u64::try_from(running).unwrap_or(u64::MAX)),
                overdue: Some(overdue),
            })
        });
        status.collect()
    }

    /// Tells of the calls that last too long; `looked` is when this was done before.
    pub(crate) fn look(&self, limit: Duration, looked: Instant, now: Instant) {
        for (call, new) in self.inside.overdue(limit, now) {
            if new && let Some(counts) = self.counts(call.method()) {
                counts.overdue.fetch_add(1, Relaxed);
            }
            let lasts = call.lasts(now);
            if new || is_due(limit, call.lasts(looked), lasts) {
                tracing::warn!(
                    module = %self.module,
                    function = self.function(call.method()),
                    seconds = lasts.as_secs_f32(),
                    "a call of a module does not return"
                );
            }
        }
    }

    /// The calls that last longer than `limit`.
    pub(crate) fn stuck(&self, limit: Duration, now: Instant) -> Vec<StuckCall> {
        let stuck = self.inside.calls().filter(|call| call.lasts(now) >= limit);
        stuck
            .map(|call| StuckCall {
                module: self.module.clone(),
                function: self.function(call.method()),
                lasts: call.lasts(now),
            })
            .collect()
    }

    fn counts(&self, method: u32) -> Option<&Counts> {
        match method {
            DROP => Some(&self.drop),
            method => self.methods.get(usize::try_from(method).ok()?),
        }
    }

    fn function(&self, method: u32) -> &'static str {
        match method {
            CONSTRUCTOR => "constructor",
            DROP => "drop",
            method => self.kind.method_name(method),
        }
    }

    /// What the module counts by itself.
    pub(crate) fn counters(&self) -> Vec<CounterStatus> {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters
            .iter()
            .map(|(name, value)| CounterStatus {
                name: Some(clean::line(name.clone())),
                value: Some(*value),
            })
            .collect()
    }

    /// An answer whose text for people is fit to be shown: why a container has to end.
    fn cleaned(&self, method: u32, answer: Vec<u8>) -> Vec<u8> {
        let watch = matches!(self.kind, Kind::Isolator) && method == IsolatorMethod::Watch.number();
        if watch { clean::limitation(answer) } else { answer }
    }

    fn failed(&self, method: u32, error: &ModuleError) {
        // "I do not do this" is an answer.
        if matches!(error.code, Code::Unimplemented) {
            return;
        }
        let panicked = error.message.starts_with(PANIC_PREFIX);
        if let Some(counts) = self.counts(method) {
            counts.errors.fetch_add(1, Relaxed);
            counts.panics.fetch_add(u64::from(panicked), Relaxed);
        }
        let function = self.function(method);
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

/// A call that is inside a module.
pub(crate) struct Inside<'a> {
    meter: &'a Meter,
    method: u32,
    began: Instant,
    slot: Slot<'a>,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let counted = self.slot.leave();
        let lasted = self.began.elapsed();
        let nanos = u64::try_from(lasted.as_nanos()).unwrap_or(u64::MAX);
        let Some(counts) = self.meter.counts(self.method) else { return };
        counts.calls.fetch_add(1, Relaxed);
        counts.total_nanos.fetch_add(nanos, Relaxed);
        if counts.max_nanos.load(Relaxed) < nanos {
            counts.max_nanos.fetch_max(nanos, Relaxed);
        }
        if counted || lasted >= self.meter.limit {
            counts.overdue.fetch_add(u64::from(!counted), Relaxed);
            tracing::warn!(
                module = %self.meter.module,
                function = self.meter.function(self.method),
                seconds = lasted.as_secs_f32(),
                "a call of a module returned late"
            );
        }
    }
}

/// A way to a module, with a meter in it.
pub(crate) struct Metered<T> {
    /// There until the end.
    inner: Option<T>,
    meter: Arc<Meter>,
}

impl<T> Metered<T> {
    pub(crate) fn new(inner: T, meter: Arc<Meter>) -> Self {
        Self { inner: Some(inner), meter }
    }
}

impl<T: Transport> Transport for Metered<T> {
    fn call(&self, method: u32, request: &[u8]) -> Result<Vec<u8>, ModuleError> {
        let Some(inner) = &self.inner else { return Err(gone()) };
        let span = tracing::debug_span!(
            "module_call",
            module = %self.meter.module,
            function = self.meter.kind.method_name(method)
        );
        let inside = self.meter.enter(method);
        let result = span.in_scope(|| inner.call(method, request)).map_err(clean::error);
        drop(inside);
        if let Err(error) = &result {
            self.meter.failed(method, error);
        }
        result
    }

    /// Only what happens before it returns is watched over; an answer may take for ever.
    fn start(&self, method: u32, request: &[u8], done: Completion<Vec<u8>>) {
        let Some(inner) = &self.inner else { return done.complete(Err(gone())) };
        let (answered, unanswered) = share(done);
        let meter = Arc::clone(&self.meter);
        let done = Completion::with_never(
            move |result: Result<Vec<u8>, ModuleError>| {
                let result =
                    result.map_err(clean::error).map(|answer| meter.cleaned(method, answer));
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
        let _inside = self.meter.enter(method);
        inner.start(method, request, done);
    }
}

impl<T> Drop for Metered<T> {
    fn drop(&mut self) {
        let _inside = self.meter.enter(DROP);
        self.inner = None;
    }
}

fn gone() -> ModuleError {
    ModuleError::internal("the module is gone")
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
        let message = clean::line(message.to_owned());
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
