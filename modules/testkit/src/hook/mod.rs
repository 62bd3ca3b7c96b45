//! The MUSTs of a hook.

mod answers;
mod occasions;

use std::fs;
use std::thread;

use mezzo_module_api::v1::{
    AgentPostFetchRequest, AgentPrelaunchRequest, AgentRemoveExecutorRequest,
};
use mezzo_module_api::{Code, Hook};

use crate::report::ensure;
use crate::suite::suite;
use crate::{Failure, Report, Subject, Verdict, general};
use occasions::{Occasion, Recorder, Told};

/// Runs every MUST of a hook over this one.
pub fn conformance(subject: &Subject) -> Report {
    Report::of(subject, &[general::MUSTS, MUSTS])
}

suite! {
    $
    /// A test for each MUST of a hook, with those that hold for every kind. The argument is an expression that makes a
    /// [`Subject`](crate::Subject); every test makes its own.
    hook_tests with module_tests;
    "H.1" ordinary_occasions_are_answered: "An ordinary occasion is answered without an error, or with UNIMPLEMENTED where the hook does not care for it. Only a prelaunch may refuse.";
    "H.2" what_it_answers_is_valid: "What it answers is valid: resources and attributes that parse, labels with keys, variables with names without `=`.";
    "H.3" occasions_come_in_any_order: "Occasions come in any order and any number, and each is answered as it was the first time.";
    "H.4" occasions_come_at_the_same_time: "Calls come from several threads at the same time, and each is answered as it would be alone.";
    "H.5" half_a_request_is_answered: "A request in which a message is there but empty is answered, with an error or without one.";
    "H.6" a_sandbox_is_left_as_it_is: "`agent_post_fetch`, `agent_prelaunch` and `agent_remove_executor` leave the files in a sandbox as they are.";
    "H.7" a_sandbox_that_is_gone_does_no_harm: "A sandbox that does not exist (any more) is answered with an error or without one, and is not made.";
    "H.8" a_refusal_says_why: "A prelaunch that refuses says why in its message: the framework reads it. The code is not INTERNAL.";
}

fn ordinary_occasions_are_answered(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let occasion = Occasion::new(subject)?;
    for told in occasion.all(made.raw()) {
        ensure(
            told.in_order(),
            || told.to_string(),
            "an answer without an error, or UNIMPLEMENTED",
        )?;
    }
    Ok(())
}

fn what_it_answers_is_valid(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    answers::valid(made.hook(), &Occasion::new(subject)?)
}

fn occasions_come_in_any_order(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let occasion = Occasion::new(subject)?;
    let first = occasion.all(made.raw());
    let mut backwards = occasion.backwards(made.raw());
    backwards.reverse();
    same(&first, &backwards)?;
    same(&first, &occasion.all(made.raw()))
}

/// Two instances: the second answers as the first did, to the letter, though the first was asked before it; and it answers
/// on when the first is dropped.
pub(crate) fn instances_stand_alone(subject: &Subject) -> Verdict {
    let (one, two) = (subject.make()?, subject.make()?);
    let occasion = Occasion::new(subject)?;
    let (first, second) = (Recorder::new(one.raw()), Recorder::new(two.raw()));
    let (_, told) = (occasion.all(&first), occasion.all(&second));
    let (first, second) = (first.answers(), second.answers());
    let differs = first.iter().zip(&second).find(|((_, first), (_, second))| first != second);
    if let Some(((method, _), _)) = differs {
        return Err(Failure::new(
            format!(
                "`{}` was answered otherwise than by the first",
                subject.kind().method_name(*method)
            ),
            "the first answers of a second instance are those of the first",
        ));
    }
    drop(one);
    same(&told, &occasion.all(two.raw()))
}

fn occasions_come_at_the_same_time(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let alone = Occasion::new(subject)?.all(made.raw());
    let several = || -> Verdict {
        let occasion = Occasion::new(subject)?;
        (0..20).try_for_each(|_| same(&alone, &occasion.all(made.raw())))
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(several)).collect();
        let lost = || Failure::new("a thread panicked", "calls from several threads");
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(lost())))
    })
}

/// Whether each was answered, or not, as the first time. The answers themselves may differ (a time, a number).
fn same(first: &[Told], again: &[Told]) -> Verdict {
    for (first, again) in first.iter().zip(again) {
        ensure(
            first.code() == again.code(),
            || format!("first {first}, then {again}"),
            "the same occasion has the same outcome",
        )?;
    }
    Ok(())
}

fn half_a_request_is_answered(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    occasions::half(made.hook());
    Ok(())
}

fn a_sandbox_is_left_as_it_is(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let occasion = Occasion::new(subject)?;
    let before = listing(&occasion.sandbox)?;
    // Whether they are answered is another matter.
    let _ = made.hook().agent_post_fetch(occasion.post_fetch());
    let _ = made.hook().agent_prelaunch(occasion.prelaunch());
    let _ = made.hook().agent_remove_executor(occasion.remove_executor());
    let after = listing(&occasion.sandbox)?;
    ensure(
        before == after,
        || format!("{after:?} where {before:?} was"),
        "the same files with the same content",
    )
}

/// Names and contents of the files of a flat directory.
fn listing(dir: &std::path::Path) -> Result<Vec<(String, String)>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(format!("{}: {error}", dir.display()), "the sandbox is there")
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let content = fs::read_to_string(entry.path()).map_err(unreadable)?;
        files.push((entry.file_name().to_string_lossy().into_owned(), content));
    }
    files.sort();
    Ok(files)
}

fn a_sandbox_that_is_gone_does_no_harm(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let occasion = Occasion::new(subject)?;
    let gone = subject.place().join("gone").join("sandbox");
    let directory = Some(gone.display().to_string());
    let hook = made.hook();
    let _ = hook.agent_post_fetch(AgentPostFetchRequest {
        directory: directory.clone(),
        ..occasion.post_fetch()
    });
    let _ = hook.agent_remove_executor(AgentRemoveExecutorRequest {
        directory,
        ..occasion.remove_executor()
    });
    let mut prelaunch: AgentPrelaunchRequest = occasion.prelaunch();
    if let Some(config) = &mut prelaunch.config {
        config.directory = gone.display().to_string();
    }
    let _ = hook.agent_prelaunch(prelaunch);
    ensure(!gone.exists(), || format!("{} was made", gone.display()), "it is not made")
}

fn a_refusal_says_why(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let occasion = Occasion::new(subject)?;
    let refused = |answer: Result<(), mezzo_module_api::ModuleError>| match answer {
        Err(error) if error.message.trim().is_empty() || error.code == Code::Internal => {
            Err(Failure::new(
                format!(
                    "a refusal with the code {} and the message `{}`",
                    error.code, error.message
                ),
                "a message for people, and another code",
            ))
        }
        _ => Ok(()),
    };
    let hook: &dyn Hook = made.hook();
    refused(hook.agent_prelaunch(occasion.prelaunch()).map(drop))?;
    refused(hook.agent_prelaunch_docker(occasion.prelaunch_docker()).map(drop))?;
    // Nothing at all to decide by: what is required is missing.
    refused(hook.agent_prelaunch(AgentPrelaunchRequest::default()).map(drop))
}
