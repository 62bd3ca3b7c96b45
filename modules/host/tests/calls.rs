//! What happens at a call across the boundary: answers, errors, panics, and answers that come later or never.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod place;

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mezzo_module_api::v1::{
    AgentPostFetchRequest, AgentPrelaunchRequest, AllocateRequest, CleanupRequest, IsolateRequest,
    MethodStatus, ObserveRequest, PrepareRequest, StatusRequest, UpdateRequest, UsageRequest,
    WatchRequest, WatchResponse,
};
use mezzo_module_api::{Code, Completion, Isolator, ModuleError};
use mezzo_module_host::{Manifest, Modules};
use place::Place;

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const FIXTURE: &str = "mezzo_module_fixture";
/// Longer than any machine takes; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn isolator(name: &str) -> (Place, Modules, Arc<dyn Isolator>) {
    let place = Place::new();
    let modules = place.load(&[(FIXTURE, &[name])]).unwrap();
    let isolator = modules.isolators(name).unwrap().remove(0).module;
    (place, modules, isolator)
}

fn method(modules: &Modules, name: &str) -> MethodStatus {
    let status = modules.status().remove(0);
    status.methods.into_iter().find(|method| method.method() == name).unwrap_or_default()
}

#[test]
fn a_panic_is_an_error_of_the_call_and_is_counted() {
    let (_place, modules, isolator) = isolator("fixture/rude");
    let error = isolator.prepare(PrepareRequest::default()).unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::Internal, "module panicked: cannot prepare anything")
    );
    let error = isolator.update(UpdateRequest::default()).unwrap_err();
    assert_eq!(error.message, "module panicked: (no text)");
    let error = isolator.isolate(IsolateRequest::default()).unwrap_err();
    assert_eq!(error.message, "module panicked: (no text)");
    // It is called again as if nothing had happened.
    isolator.cleanup(CleanupRequest::default()).unwrap();
    isolator.prepare(PrepareRequest::default()).unwrap_err();

    let prepare = method(&modules, "prepare");
    assert_eq!((prepare.calls(), prepare.errors(), prepare.panics()), (2, 2, 2));
    let cleanup = method(&modules, "cleanup");
    assert_eq!((cleanup.calls(), cleanup.errors(), cleanup.panics()), (1, 0, 0));
    assert!(cleanup.max_nanos() > 0 && cleanup.total_nanos() >= cleanup.max_nanos());
}

#[test]
fn an_error_keeps_its_code_and_words_and_counters_arrive() {
    let (_place, modules, isolator) = isolator("fixture/rude");
    let error = isolator.usage(UsageRequest::default()).unwrap_err();
    assert_eq!(error, ModuleError::new(Code::Unavailable, "not today"));
    isolator.usage(UsageRequest::default()).unwrap_err();
    let status = modules.status().remove(0);
    let counters: Vec<_> =
        status.counters.iter().map(|counter| (counter.name(), counter.value())).collect();
    assert_eq!(counters, [("usages", 4)]);
    let usage = method(&modules, "usage");
    assert_eq!((usage.errors(), usage.panics()), (2, 0));
}

#[test]
fn what_a_module_says_does_not_reach_terminals_raw() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let (_place, _modules, isolator) = isolator("fixture/rude");
    let mut request = UsageRequest::default();
    request.container_id.get_or_insert_default().value = "loud".to_owned();
    let error = tracing::subscriber::with_default(subscriber, || isolator.usage(request));
    assert_eq!(error.unwrap_err().message, r"module panicked: \u{1b}[2Jgone\r\n");
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert!(
        matches!(lines.as_slice(), [line, panic] if line.contains(r"\u{1b}[31mred\nand a line that nobody wrote")
            && panic.contains(r"module panicked: \u{1b}[2Jgone\r\n")),
        "{log}"
    );
}

#[test]
fn what_a_module_does_not_implement_changes_nothing() {
    let (_place, modules, isolator) = isolator("fixture/rude");
    assert_eq!(isolator.status(StatusRequest::default()).unwrap(), Default::default());
    assert_eq!(method(&modules, "status").errors(), 0);
    let place = Place::new();
    let modules = place.load(&[(FIXTURE, &["fixture/strict"])]).unwrap();
    let hook = modules.hooks("fixture/strict").unwrap().remove(0).module;
    assert_eq!(
        hook.agent_post_fetch(AgentPostFetchRequest::default()).unwrap(),
        Default::default()
    );
    assert_eq!(
        hook.agent_prelaunch(AgentPrelaunchRequest::default()).unwrap_err().code,
        Code::PermissionDenied
    );
}

#[test]
fn garbage_from_a_module_is_an_error() {
    let (_place, _modules, isolator) = isolator("fixture/garbler");
    let error = isolator.prepare(PrepareRequest::default()).unwrap_err();
    assert_eq!(error.code, Code::DataLoss);
    assert!(
        error.message.starts_with("the module's answer to `prepare` cannot be decoded: "),
        "{error}"
    );
}

fn watch(isolator: &dyn Isolator, id: &str) -> Receiver<Result<WatchResponse, ModuleError>> {
    let (sender, receiver) = mpsc::channel();
    let sender = Mutex::new(sender);
    let mut request = WatchRequest::default();
    request.container_id.get_or_insert_default().value = id.to_owned();
    isolator
        .watch(request, Completion::new(move |result| drop(sender.lock().unwrap().send(result))));
    receiver
}

#[test]
fn an_answer_comes_later_from_the_modules_own_thread() {
    let (_place, _modules, isolator) = isolator("fixture/rude");
    assert_eq!(
        watch(isolator.as_ref(), "later").recv_timeout(PATIENCE).unwrap(),
        Ok(WatchResponse::default())
    );
}

#[test]
fn a_lost_answer_is_an_error_however_it_was_lost() {
    let (_place, modules, isolator) = isolator("fixture/rude");
    for (how, code, message) in [
        ("lose", Code::Aborted, "the module dropped the call without an answer"),
        ("panic", Code::Internal, "module panicked: cannot watch"),
        ("panic later", Code::Internal, "module panicked: the thread that was to answer"),
    ] {
        let error = watch(isolator.as_ref(), how).recv_timeout(PATIENCE).unwrap().unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (code, message), "{how}");
    }
    let watch = method(&modules, "watch");
    assert_eq!((watch.errors(), watch.panics()), (3, 2));
}

#[test]
fn an_answer_may_come_when_the_module_is_gone() {
    let (_place, modules, isolator) = isolator("fixture/rude");
    let answer = watch(isolator.as_ref(), "survive");
    drop(isolator);
    drop(modules);
    assert_eq!(answer.recv_timeout(PATIENCE).unwrap(), Ok(WatchResponse::default()));
}

#[test]
fn a_panic_of_the_host_in_a_callback_stays_in_the_host() {
    let (_place, modules, isolator) = isolator("fixture/rude");
    let (sender, called) = mpsc::channel();
    let mut request = WatchRequest::default();
    // At once, on the thread that asks, and inside a panic of the module.
    request.container_id.get_or_insert_default().value = "panic".to_owned();
    let done = Completion::new(move |_| {
        sender.send(()).unwrap();
        panic!("the host's own");
    });
    isolator.watch(request, done);
    called.recv_timeout(PATIENCE).unwrap();
    isolator.cleanup(CleanupRequest::default()).unwrap();
    assert_eq!(method(&modules, "watch").panics(), 1);
}

#[test]
fn an_answer_that_will_never_come_is_none() {
    let (_place, modules, isolator) = isolator("fixture/rude");
    // The callback is dropped, not called.
    assert_eq!(
        watch(isolator.as_ref(), "never").recv_timeout(PATIENCE),
        Err(mpsc::RecvTimeoutError::Disconnected)
    );
    assert_eq!(method(&modules, "watch").errors(), 0);
}

#[test]
fn a_panic_in_a_drop_stays_in_the_module() {
    let place = Place::new();
    let manifest = format!(
        r#"{{"libraries":[{{"name":"{FIXTURE}","modules":[
            {{"name":"fixture/rude","parameters":[{{"key":"drop_panics","value":"true"}}]}}]}}]}}"#
    );
    let modules =
        Modules::load(place.options(vec![Manifest::from_flag(&manifest).unwrap()])).unwrap();
    let isolator = modules.isolators("fixture/rude").unwrap();
    drop(isolator);
    assert_eq!(modules.status().len(), 1);
}

#[test]
fn the_allocator_works_through_the_boundary_as_it_does_without() {
    let place = Place::new();
    let modules = Modules::load(place.options(vec![])).unwrap();
    let allocator = modules.allocator("hierarchical").unwrap();
    allocator.initialize(Default::default()).unwrap();
    assert_eq!(allocator.observe(ObserveRequest::default()).unwrap(), Default::default());
    assert_eq!(allocator.allocate(AllocateRequest::default()).unwrap(), Default::default());
    let random = mezzo_module_api::v1::InitializeAllocatorRequest {
        role_sorter: Some("random".into()),
        ..Default::default()
    };
    assert_eq!(allocator.initialize(random).unwrap_err().code, Code::Unimplemented);
}

#[test]
fn calls_from_many_threads_are_all_counted() {
    let (_place, modules, isolator) = isolator("fixture/rude");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope
                .spawn(|| (0..100).for_each(|_| drop(isolator.cleanup(CleanupRequest::default()))));
        }
    });
    assert_eq!(method(&modules, "cleanup").calls(), 800);
}
