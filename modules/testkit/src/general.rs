//! What holds for a module of any kind: how it is made, dropped, and called with what makes no sense.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use mezzo_module_api::v1::ModuleKind;
use mezzo_module_api::{Code, Completion, Kind, ModuleError};
use mezzo_module_host::Modules;

use crate::made::Made;
use crate::report::ensure;
use crate::subject::with_causes;
use crate::suite::suite;
use crate::{Failure, Subject, Verdict, allocator, hook, isolator};

suite! {
    $
    /// A test for each MUST that holds for a module of any kind. The tests of the kinds contain them.
    module_tests;
    "G.1" a_host_loads_it: "A host loads the library, makes the module by its name with its parameters, and is told its version and what it does.";
    "G.2" an_unknown_parameter_is_refused: "A parameter that the module does not know is refused by its constructor with INVALID_ARGUMENT, and the message names it.";
    "G.3" an_unknown_method_is_unimplemented: "A call of a method that the module does not know is answered with UNIMPLEMENTED.";
    "G.4" garbage_is_an_invalid_argument: "A request that does not decode is answered with INVALID_ARGUMENT, and the module works as before.";
    "G.5" an_empty_request_is_answered: "A request with no field set is answered, with an error or without one: any field may be missing.";
    "G.6" instances_stand_alone: "Several instances live in one process; dropping one does not disturb another.";
    "G.7" a_dropped_instance_leaves_no_thread: "An instance that is dropped goes promptly and ends its threads.";
}

/// Bytes that are no message at all: the first field number is none.
const GARBAGE: &[u8] = &[0xff; 24];
/// A number that no kind has, and will not have soon.
const UNKNOWN: u32 = 60_000;

fn a_host_loads_it(subject: &Subject) -> Verdict {
    let Some(file) = subject.file() else { return subject.make().map(drop) };
    let refused = |error: mezzo_module_host::LoadError| {
        Failure::new(with_causes(&error), "a host accepts the library and makes the module")
    };
    let modules = Modules::load(subject.options(file)).map_err(refused)?;
    let (name, kind) = (subject.name(), subject.kind());
    match kind {
        Kind::Allocator => modules.allocator(name).map(drop),
        Kind::Isolator => modules.isolators(name).map(drop),
        _ => modules.hooks(name).map(drop),
    }
    .map_err(refused)?;
    let told = modules.status();
    let Some(told) = told.first() else {
        return Err(Failure::new("the host tells of no module", "it tells of this one"));
    };
    let same_kind = ModuleKind::try_from(told.kind.unwrap_or_default())
        .is_ok_and(|kind| kind as u32 == subject.kind().number());
    ensure(
        told.name() == name && same_kind && !told.version().is_empty(),
        || format!("name `{}`, version `{}`", told.name(), told.version()),
        "the name that was asked for, its kind, and a version",
    )?;
    ensure(
        !told.description().trim().is_empty(),
        || "an empty description".to_owned(),
        "a description that tells an operator what it does",
    )
}

fn an_unknown_parameter_is_refused(subject: &Subject) -> Verdict {
    const KEY: &str = "mezzo_testkit_does_not_exist";
    let expected = format!("INVALID_ARGUMENT with a message that names `{KEY}`");
    match subject.make_with(&[(KEY, "1")])? {
        Ok(_) => Err(Failure::new("it was made all the same", expected)),
        Err(error) => ensure(
            error.code == Code::InvalidArgument && error.message.contains(KEY),
            || error.to_string(),
            expected,
        ),
    }
}

fn an_unknown_method_is_unimplemented(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let unimplemented = |how: &str, answer: Result<Vec<u8>, ModuleError>| {
        ensure(
            matches!(&answer, Err(error) if error.code == Code::Unimplemented),
            || format!("{how} {UNKNOWN}: {}", shown(&answer)),
            "UNIMPLEMENTED",
        )
    };
    unimplemented("call", made.raw().call(UNKNOWN, &[]))?;
    unimplemented("start", started(&made, UNKNOWN, &[])?)
}

fn garbage_is_an_invalid_argument(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let (at_once, later) = made.methods();
    let name = |method: u32| subject.kind().method_name(method);
    let refused = |method: u32, answer: Result<Vec<u8>, ModuleError>| {
        ensure(
            matches!(&answer, Err(error) if error.code == Code::InvalidArgument),
            || format!("`{}` answered {}", name(method), shown(&answer)),
            "INVALID_ARGUMENT",
        )
    };
    for method in &at_once {
        refused(*method, made.raw().call(*method, GARBAGE))?;
        // The right bytes of something else, cut off.
        refused(*method, made.raw().call(*method, &[0x0a, 0x7f, 0x01]))?;
    }
    for method in &later {
        refused(*method, started(&made, *method, GARBAGE)?)?;
    }
    answers_as_before(subject, &made)
}

/// An instance that has been ill-treated answers an empty request as a fresh one does.
fn answers_as_before(subject: &Subject, made: &Made) -> Verdict {
    let fresh = subject.make()?;
    let method = *made.methods().0.first().unwrap_or(&1);
    let (old, new) = (made.raw().call(method, &[]), fresh.raw().call(method, &[]));
    ensure(
        old == new,
        || format!("`{}` answers {}", subject.kind().method_name(method), shown(&old)),
        format!("what a fresh instance answers: {}", shown(&new)),
    )
}

fn an_empty_request_is_answered(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let (at_once, later) = made.methods();
    for method in at_once {
        // Panics and slow calls are noticed by whoever runs this.
        let _ = made.raw().call(method, &[]);
    }
    for method in later {
        let _ = started(&made, method, &[])?;
    }
    Ok(())
}

fn instances_stand_alone(subject: &Subject) -> Verdict {
    // What they could share is what a kind is about.
    match subject.kind() {
        Kind::Allocator => allocator::instances_stand_alone(subject),
        Kind::Isolator => isolator::instances_stand_alone(subject),
        _ => hook::instances_stand_alone(subject),
    }
}

fn a_dropped_instance_leaves_no_thread(subject: &Subject) -> Verdict {
    const MANY: usize = 64;
    const PROMPT: Duration = Duration::from_secs(5);
    // Other tests of this process have threads of their own, but not as many as are made here.
    let allowed = threads()? + MANY / 2;
    for _ in 0..MANY {
        let made = subject.make()?;
        let start = Instant::now();
        drop(made);
        ensure(
            start.elapsed() < PROMPT,
            || format!("a drop took {:.1} s", start.elapsed().as_secs_f64()),
            format!("less than {} s", PROMPT.as_secs()),
        )?;
    }
    // A thread that has been told to end may need a moment for it.
    let deadline = Instant::now() + PROMPT;
    loop {
        let left = threads()?;
        if left < allowed {
            return Ok(());
        }
        if Instant::now() > deadline {
            let expected = format!("fewer than {allowed}");
            return Err(Failure::new(
                format!("{left} threads after {MANY} instances were made and dropped"),
                expected,
            ));
        }
        std::thread::yield_now();
    }
}

fn threads() -> Result<usize, Failure> {
    std::fs::read_dir("/proc/self/task")
        .map(Iterator::count)
        .map_err(|error| Failure::new(error.to_string(), "/proc/self/task can be read"))
}

/// Starts a call and waits for its answer; one that will never come is `Cancelled`.
fn started(
    made: &Made,
    method: u32,
    request: &[u8],
) -> Result<Result<Vec<u8>, ModuleError>, Failure> {
    let (sender, receiver) = mpsc::channel();
    let never = sender.clone();
    let done = Completion::with_never(
        move |answer| drop(sender.send(answer)),
        move || drop(never.send(Err(ModuleError::new(Code::Cancelled, "there is no answer")))),
    );
    made.raw().start(method, request, done);
    receiver.recv_timeout(Duration::from_secs(10)).map_err(|_| {
        Failure::new(
            "a call for a container that does not exist is kept waiting",
            "an answer, or `Completion::never`",
        )
    })
}

fn shown(answer: &Result<Vec<u8>, ModuleError>) -> String {
    match answer {
        Ok(bytes) => format!("{} bytes", bytes.len()),
        Err(error) => format!("the error: {error}"),
    }
}
