//! What an operator is told of calls that do not return, and of panics that no call can return.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod place;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use mezzo_module_api::v1::{CleanupRequest, MethodStatus, UpdateRequest, WatchRequest};
use mezzo_module_api::{Completion, Isolator};
use mezzo_module_host::{Manifest, Modules};
use place::Place;

const FIXTURE: &str = "mezzo_module_fixture";
/// How long a call may take in these tests.
const LIMIT: Duration = Duration::from_millis(20);
/// Longer than any machine takes; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that is logged in this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn of_this_process() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            let writer = log.clone();
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
            log
        })
    }

    /// How many lines have all of these words.
    fn lines(&self, words: &[&str]) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// A named pipe that `fixture/slow` waits at.
fn gate(place: &Place) -> PathBuf {
    let gate = place.dir().join("gate");
    assert!(std::process::Command::new("mkfifo").arg(&gate).status().unwrap().success());
    gate
}

fn open(gate: &Path) {
    drop(File::options().write(true).open(gate).unwrap());
}

fn load(place: &Place, module: &str, parameters: &[(&str, &str)], limit: Duration) -> Modules {
    Log::of_this_process();
    let parameters: Vec<_> = parameters
        .iter()
        .map(|(key, value)| format!(r#"{{"key":"{key}","value":"{value}"}}"#))
        .collect();
    let manifest = format!(
        r#"{{"libraries":[{{"name":"{FIXTURE}","modules":[{{"name":"{module}","parameters":[{}]}}]}}]}}"#,
        parameters.join(",")
    );
    let mut options = place.options(vec![Manifest::from_flag(&manifest).unwrap()]);
    options.watchdog = limit;
    Modules::load(options).unwrap()
}

fn isolator(modules: &Modules, name: &str) -> Arc<dyn Isolator> {
    modules.isolators(name).unwrap().remove(0).module
}

fn method(modules: &Modules, name: &str) -> MethodStatus {
    let methods = modules.status().remove(0).methods;
    methods.into_iter().find(|method| method.method() == name).unwrap_or_default()
}

#[test]
fn a_call_that_does_not_return_is_told_of_and_holds_up_nobody_else() {
    let place = Place::new();
    let gate = gate(&place);
    let modules = load(&place, "fixture/slow", &[("gate", gate.to_str().unwrap())], LIMIT);
    let slow = isolator(&modules, "fixture/slow");
    let told = |words: &[&str]| {
        let mine = ["WARN", "module=fixture/slow", "function=\"update\""];
        Log::of_this_process().lines(&[&mine, words].concat())
    };
    thread::scope(|scope| {
        scope.spawn(|| slow.update(UpdateRequest::default()));
        until("it is stuck", || !modules.stuck().is_empty());
        let stuck = modules.stuck().remove(0);
        assert_eq!((stuck.module.as_str(), stuck.function), ("fixture/slow", "update"));
        assert!(stuck.lasts >= LIMIT);
        // When it is overdue, and when it has taken twice as long, and so on.
        until("it is told of", || told(&["does not return"]) >= 3);
        let update = method(&modules, "update");
        assert_eq!((update.calls(), update.running(), update.overdue()), (0, 1, 1));
        // Others are served meanwhile.
        slow.cleanup(CleanupRequest::default()).unwrap();
        open(&gate);
    });
    let update = method(&modules, "update");
    assert_eq!((update.calls(), update.running(), update.overdue()), (1, 0, 1));
    assert_eq!(told(&["returned late"]), 1);
    assert!(modules.stuck().is_empty());
    let cleanup = method(&modules, "cleanup");
    assert_eq!((cleanup.calls(), cleanup.running(), cleanup.overdue()), (1, 0, 0));
}

#[test]
fn to_wait_for_an_answer_is_not_to_be_inside() {
    let place = Place::new();
    let gate = gate(&place);
    let modules = load(&place, "fixture/slow", &[("gate", gate.to_str().unwrap())], LIMIT);
    let slow = isolator(&modules, "fixture/slow");
    let watch = |id: &str| {
        let mut request = WatchRequest::default();
        request.container_id.get_or_insert_default().value = id.to_owned();
        slow.watch(request, Completion::new(|_| {}));
    };
    watch("for ever");
    let watched = method(&modules, "watch");
    assert_eq!((watched.calls(), watched.running()), (1, 0));
    // What happens before `watch` returns is a call like any other.
    thread::scope(|scope| {
        scope.spawn(|| watch("at once"));
        until("it is stuck", || !modules.stuck().is_empty());
        assert_eq!(modules.stuck().remove(0).function, "watch");
        open(&gate);
    });
    assert_eq!(method(&modules, "watch").overdue(), 1);
}

#[test]
fn a_constructor_and_a_drop_that_do_not_return_are_told_of() {
    let place = Place::new();
    let gate = gate(&place);
    let parameters =
        [("gate", gate.to_str().unwrap()), ("slow_constructor", "true"), ("slow_drop", "true")];
    let modules = load(&place, "fixture/slow", &parameters, LIMIT);
    thread::scope(|scope| {
        let made = scope.spawn(|| isolator(&modules, "fixture/slow"));
        until("the constructor is stuck", || !modules.stuck().is_empty());
        assert_eq!(modules.stuck().remove(0).function, "constructor");
        // Nothing else waits for it.
        assert!(modules.status().is_empty());
        open(&gate);
        let slow = made.join().unwrap();
        let gone = scope.spawn(move || drop(slow));
        until("the drop is stuck", || !modules.stuck().is_empty());
        assert_eq!(modules.stuck().remove(0).function, "drop");
        open(&gate);
        gone.join().unwrap();
    });
    assert!(modules.stuck().is_empty());
    assert_eq!(method(&modules, "constructor").overdue(), 1);
}

#[test]
fn without_a_limit_nothing_is_overdue() {
    let place = Place::new();
    let gate = gate(&place);
    let parameters = [("gate", gate.to_str().unwrap())];
    let modules = load(&place, "fixture/slow", &parameters, Duration::ZERO);
    let slow = isolator(&modules, "fixture/slow");
    thread::scope(|scope| {
        scope.spawn(|| slow.update(UpdateRequest::default()));
        until("it is inside", || method(&modules, "update").running() == 1);
        assert!(modules.stuck().is_empty());
        open(&gate);
    });
    assert_eq!(method(&modules, "update").overdue(), 0);
}

#[test]
fn a_panic_in_a_drop_is_told_with_the_modules_name() {
    let place = Place::new();
    let modules = load(&place, "fixture/rude", &[("drop_panics", "true")], LIMIT);
    drop(isolator(&modules, "fixture/rude"));
    let words = ["ERROR", "fixture/rude", "module panicked: cannot go (in its drop)"];
    assert_eq!(Log::of_this_process().lines(&words), 1);
}
