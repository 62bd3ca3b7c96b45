//! What a suite found: a line per MUST, and for each that does not hold what was found and what was expected.

use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use mezzo_module_api::ModuleError;

use crate::Subject;

/// Longer than any machine takes for one MUST; a module that lets a call hang is found out by it.
const PATIENCE: Duration = Duration::from_secs(120);

/// One sentence of `docs/module-spec.md`, and how to find out whether it holds.
#[derive(Clone, Copy, Debug)]
pub struct Must {
    /// Its number there.
    pub id: &'static str,
    /// The name of its test.
    pub name: &'static str,
    /// The sentence.
    pub sentence: &'static str,
    /// Finds out.
    pub check: fn(&Subject) -> Verdict,
}

/// What came of one MUST.
pub type Verdict = Result<(), Failure>;

/// A MUST that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the module did.
    pub found: String,
    /// What it should have done.
    pub expected: String,
}

impl Failure {
    /// A MUST that does not hold.
    pub fn new(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { found: found.into(), expected: expected.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected: {}\n   found: {}", self.expected, self.found)
    }
}

/// Holds, or fails with these words.
pub(crate) fn ensure(
    holds: bool,
    found: impl FnOnce() -> String,
    expected: impl Into<String>,
) -> Verdict {
    if holds { Ok(()) } else { Err(Failure::new(found(), expected)) }
}

/// The answer of a call that had to succeed.
pub(crate) fn good<T>(answer: Result<T, ModuleError>, call: &str) -> Result<T, Failure> {
    answer.map_err(|error| Failure::new(format!("`{call}` failed: {error}"), "it succeeds"))
}

impl Must {
    /// Finds out, on a thread of its own: a call that never comes back is an answer too.
    ///
    /// # Errors
    /// When the MUST does not hold, when the module panicked meanwhile, when a call took too long, and when something is
    /// left behind that should not be.
    pub fn run(&'static self, subject: &Subject) -> Verdict {
        let subject = subject.anew();
        let (sender, receiver) = mpsc::channel();
        let on_thread = subject.clone();
        let run = thread::Builder::new().name(format!("must {}", self.id)).spawn(move || {
            let verdict = (self.check)(&on_thread);
            drop(on_thread);
            // Who asked has gone away when it took too long.
            let _ = sender.send(verdict);
        });
        let run = run.map_err(|error| Failure::new(error.to_string(), "a thread"))?;
        match receiver.recv_timeout(PATIENCE) {
            // The last look is taken after a failure too: it may be what tidies up.
            Ok(verdict) => verdict.and(subject.conduct()),
            Err(RecvTimeoutError::Timeout) => Err(Failure::new(
                format!("the module has not come back after {} s", PATIENCE.as_secs()),
                "calls return",
            )),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Failure::new(panic_text(run), "the check comes to an end"))
            }
        }
        .map_err(|failure| subject.with_log(failure))
    }
}

fn panic_text(run: thread::JoinHandle<()>) -> String {
    match run.join() {
        Ok(()) => "the check ended without a verdict".to_owned(),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
            format!("the check panicked: {}", text.unwrap_or("(no text)"))
        }
    }
}

/// What a whole suite found about one module.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which module, from where.
    pub subject: String,
    /// A line per MUST.
    pub lines: Vec<Line>,
}

/// One line of a report.
#[derive(Clone, Debug)]
pub struct Line {
    /// Which MUST.
    pub must: &'static Must,
    /// Whether it holds.
    pub verdict: Verdict,
}

impl Report {
    /// Runs these over a module.
    pub(crate) fn of(subject: &Subject, suites: &[&'static [Must]]) -> Self {
        let musts = suites.iter().flat_map(|suite| suite.iter());
        let lines = musts.map(|must| Line { must, verdict: must.run(subject) }).collect();
        Self { subject: subject.to_string(), lines }
    }

    /// Whether every MUST holds.
    pub fn passed(&self) -> bool {
        self.lines.iter().all(|line| line.verdict.is_ok())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.lines.iter().filter(|line| line.verdict.is_err()).count();
        writeln!(
            f,
            "{}: {} of {} hold",
            self.subject,
            self.lines.len() - failed,
            self.lines.len()
        )?;
        for line in &self.lines {
            match &line.verdict {
                Ok(()) => writeln!(f, "passed {}: {}", line.must.id, line.must.sentence)?,
                Err(failure) => {
                    writeln!(f, "FAILED {}: {}\n{failure}", line.must.id, line.must.sentence)?;
                }
            }
        }
        Ok(())
    }
}

/// One MUST as a test; what the macros expand to.
///
/// # Panics
/// When it does not hold, with what was found and what was expected.
#[allow(clippy::panic, reason = "this is how a test fails")]
pub fn prove(subject: &Subject, id: &str) {
    let mut musts = crate::ALL.iter().flat_map(|suite| suite.iter());
    let Some(must) = musts.find(|must| must.id == id) else { panic!("there is no MUST {id}") };
    if let Err(failure) = must.run(subject) {
        panic!("{subject} breaks {id}: {}\n{failure}", must.sentence);
    }
}
