//! What an earlier life of the agent has left.

use super::alone::unknown_now;
use super::container::{Container, recover};
use crate::report::{ensure, good};
use crate::{Subject, Verdict};

pub(super) fn recovering_nothing_succeeds(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    recover(made.isolator(), &[], &[])
}

pub(super) fn strangers_are_recovered(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let mut alive = Container::new(subject)?;
    let mut dead = Container::new(subject)?;
    dead.kill();
    recover(isolator, &[&alive, &dead], &[])?;
    alive.finish(isolator)?;
    dead.finish(isolator)?;
    unknown_now(isolator, &alive)
}

pub(super) fn orphans_can_be_cleaned_up(subject: &Subject) -> Verdict {
    let before = subject.make()?;
    let mut known = Container::new(subject)?;
    known.start(before.isolator())?;
    drop(before);
    known.kill();
    let stranger = Container::new(subject)?;
    let made = subject.make()?;
    let isolator = made.isolator();
    recover(isolator, &[], &[&known, &stranger])?;
    good(known.cleanup(isolator), "cleanup of an orphan")?;
    good(stranger.cleanup(isolator), "cleanup of an orphan that was never prepared")?;
    unknown_now(isolator, &known)
}

pub(super) fn a_recovered_container_lives_on(subject: &Subject) -> Verdict {
    let before = subject.make()?;
    let mut container = Container::new(subject)?;
    container.start(before.isolator())?;
    let measured = good(container.usage(before.isolator()), "usage")?.statistics.is_some();
    drop(before);
    let made = subject.make()?;
    let isolator = made.isolator();
    recover(isolator, &[&container], &[])?;
    let watch = container.watch(isolator);
    good(container.update(isolator), "update of a recovered container")?;
    let usage = good(container.usage(isolator), "usage of a recovered container")?;
    ensure(
        !measured || usage.statistics.is_some(),
        || "no statistics".to_owned(),
        "statistics, as before the recovery",
    )?;
    good(container.status(isolator), "status of a recovered container")?;
    container.finish(isolator)?;
    watch.over("after cleanup of a recovered container")?;
    unknown_now(isolator, &container)
}

pub(super) fn a_recovered_container_is_left_alone(subject: &Subject) -> Verdict {
    let before = subject.make()?;
    let mut container = Container::new(subject)?;
    container.start(before.isolator())?;
    drop(before);
    container.running("after the isolator was dropped")?;
    let made = subject.make()?;
    let isolator = made.isolator();
    recover(isolator, &[&container], &[])?;
    let watch = container.watch(isolator);
    for _ in 0..20 {
        good(container.usage(isolator), "usage of a recovered container")?;
        watch.quiet()?;
    }
    container.running("after `recover`")?;
    container.finish(isolator)
}
