//! Calls for containers that the isolator does not know.

use mezzo_module_api::v1::{StatusResponse, UsageResponse};
use mezzo_module_api::{Code, Isolator, ModuleError};

use super::container::Container;
use crate::report::{ensure, good};
use crate::{Subject, Verdict};

pub(super) fn cleanup_of_an_unknown_container_succeeds(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let outer = Container::new(subject)?;
    let inner = Container::nested(subject, &outer)?;
    good(inner.cleanup(isolator), "cleanup of an unknown nested container")?;
    good(outer.cleanup(isolator), "cleanup of an unknown container")
}

pub(super) fn an_unknown_container_has_no_usage(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let mut container = Container::new(subject)?;
    no_usage(container.usage(isolator), "before `prepare`")?;
    container.start(isolator)?;
    container.finish(isolator)?;
    no_usage(container.usage(isolator), "after `cleanup`")
}

pub(super) fn an_unknown_container_has_no_status(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let mut container = Container::new(subject)?;
    no_status(container.status(isolator), "before `prepare`")?;
    container.start(isolator)?;
    container.finish(isolator)?;
    no_status(container.status(isolator), "after `cleanup`")
}

pub(super) fn update_of_an_unknown_container_succeeds(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let mut container = Container::new(subject)?;
    good(container.update(isolator), "update before `prepare`")?;
    container.start(isolator)?;
    container.finish(isolator)?;
    good(container.update(isolator), "update after `cleanup`")?;
    unknown_now(isolator, &container)
}

pub(super) fn watch_of_an_unknown_container_ends(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let container = Container::new(subject)?;
    container.watch(isolator).gone("for a container that is not known")
}

/// The isolator has forgotten this container.
pub(super) fn unknown_now(isolator: &dyn Isolator, container: &Container) -> Verdict {
    unknown(isolator, container, "after `cleanup`")
}

/// The isolator does not know this container.
pub(super) fn unknown(isolator: &dyn Isolator, container: &Container, when: &str) -> Verdict {
    no_usage(container.usage(isolator), when)?;
    no_status(container.status(isolator), when)
}

fn no_usage(answer: Result<UsageResponse, ModuleError>, when: &str) -> Verdict {
    nothing(answer, when, |usage| {
        usage.statistics.is_none_or(|statistics| statistics == Default::default())
    })
}

fn no_status(answer: Result<StatusResponse, ModuleError>, when: &str) -> Verdict {
    nothing(answer, when, |status| status.status.is_none_or(|status| status == Default::default()))
}

fn nothing<T: std::fmt::Debug + Clone>(
    answer: Result<T, ModuleError>,
    when: &str,
    empty: impl Fn(T) -> bool,
) -> Verdict {
    let holds = match &answer {
        Ok(answer) => empty(answer.clone()),
        Err(error) => error.code == Code::NotFound,
    };
    let shown = || format!("{when}: {answer:?}").chars().take(200).collect();
    ensure(holds, shown, "NOT_FOUND, or nothing")
}
