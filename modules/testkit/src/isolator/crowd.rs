//! Several containers, several threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mezzo_module_api::{Code, Isolator, ModuleError};

use super::alone::unknown;
use super::container::Container;
use crate::report::{ensure, good};
use crate::{Failure, Subject, Verdict};

const THREADS: usize = 8;

pub(super) fn containers_can_live_at_the_same_time(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let life = || -> Verdict {
        for _ in 0..3 {
            let mut container = Container::new(subject)?;
            let watch = container.start(isolator)?;
            good(container.update(isolator), "update")?;
            good(container.usage(isolator), "usage")?;
            good(container.status(isolator), "status")?;
            watch.quiet()?;
            container.finish(isolator)?;
            watch.over("after cleanup")?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let lives: Vec<_> = (0..THREADS).map(|_| scope.spawn(life)).collect();
        lives.into_iter().try_for_each(|life| life.join().unwrap_or_else(|_| Err(lost())))
    })
}

pub(super) fn usage_may_overlap_with_anything(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    for _ in 0..3 {
        let mut container = Container::new(subject)?;
        container.start(isolator)?;
        let mut process = Container::new(subject)?;
        // The container's requests, from another hand: the process in it does not matter.
        process.id = container.id.clone();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let askers: Vec<_> =
                (0..2).map(|_| scope.spawn(|| ask(isolator, &process, &over))).collect();
            let finished = container.finish(isolator);
            over.store(true, Ordering::Relaxed);
            askers
                .into_iter()
                .try_for_each(|asker| asker.join().unwrap_or_else(|_| Err(lost())))
                .and(finished)
        })?;
    }
    Ok(())
}

/// Asks until it is over, and once more.
fn ask(isolator: &dyn Isolator, container: &Container, over: &AtomicBool) -> Verdict {
    loop {
        let last = over.load(Ordering::Relaxed);
        fine(container.usage(isolator), "usage")?;
        fine(container.status(isolator), "status")?;
        fine(container.update(isolator), "update")?;
        if last {
            return Ok(());
        }
    }
}

fn fine<T>(answer: Result<T, ModuleError>, call: &str) -> Verdict {
    match answer {
        Err(error) if error.code != Code::NotFound => Err(Failure::new(
            format!("`{call}` during `cleanup`: {error}"),
            "an answer, or NOT_FOUND",
        )),
        _ => Ok(()),
    }
}

pub(super) fn one_container_does_not_disturb_another(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let (mut one, mut two) = (Container::new(subject)?, Container::new(subject)?);
    let one_watch = one.start(isolator)?;
    let two_watch = two.start(isolator)?;
    one.finish(isolator)?;
    one_watch.over("after cleanup")?;
    good(two.usage(isolator), "usage after another container was cleaned up")?;
    good(two.update(isolator), "update after another container was cleaned up")?;
    two_watch.quiet()?;
    two.finish(isolator)?;
    two_watch.over("after cleanup")
}

/// Two instances: what one was told is its own, and its end is no end for the other.
pub(crate) fn instances_stand_alone(subject: &Subject) -> Verdict {
    let (first, second) = (subject.make()?, subject.make()?);
    let (mut one, mut two) = (Container::new(subject)?, Container::new(subject)?);
    one.start(first.isolator())?;
    unknown(second.isolator(), &one, "in an instance that was not told of it")?;
    let watch = two.start(second.isolator())?;
    let (pending, before) = (watch.pending()?, two.measured(second.isolator())?);
    one.finish(first.isolator())?;
    drop(first);
    let after = two.measured(second.isolator())?;
    ensure(
        before.is_subset(&after) && watch.pending()? == pending,
        || format!("`usage` told of {before:?}, now of {after:?}; a kept watch was {pending}"),
        "a container is measured and watched as before when another instance is dropped",
    )?;
    two.finish(second.isolator())
}

pub(super) fn drop_ends_pending_watches(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let (mut one, mut two) = (Container::new(subject)?, Container::new(subject)?);
    let watches = [one.start(made.isolator())?, two.start(made.isolator())?];
    drop(made);
    for watch in watches {
        watch.gone("after the isolator was dropped")?;
    }
    // What it left is for the next life of the agent.
    let next = subject.make()?;
    super::container::recover(next.isolator(), &[&one, &two], &[])?;
    one.finish(next.isolator())?;
    two.finish(next.isolator())
}

fn lost() -> Failure {
    Failure::new("a thread panicked", "calls from several threads")
}
