//! One container from its beginning to its end, in order and out of it.

use mezzo_module_api::v1::{ContainerConfig, ContainerLaunchInfo, PrepareRequest};
use mezzo_proto::v1::value::Scalar;
use mezzo_proto::v1::{ContainerId, Environment, Resource};

use super::alone::unknown_now;
use super::container::Container;
use crate::report::{ensure, good};
use crate::{Failure, Subject, Verdict};

pub(super) fn capabilities_never_change(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let ask = || good(isolator.capabilities(Default::default()), "capabilities");
    let first = ask()?;
    let mut container = Container::new(subject)?;
    container.start(isolator)?;
    let during = ask()?;
    container.finish(isolator)?;
    let after = ask()?;
    ensure(
        first == during && first == after,
        || format!("{first:?}, then {during:?}, then {after:?}"),
        "the same answer every time",
    )
}

pub(super) fn a_container_lives_its_life(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    good(isolator.recover(Default::default()), "recover")?;
    let mut container = Container::new(subject)?;
    let _watch = container.start(isolator)?;
    good(container.update(isolator), "update")?;
    good(container.usage(isolator), "usage")?;
    good(container.status(isolator), "status")?;
    container.finish(isolator)
}

pub(super) fn a_container_within_its_limits_is_left_alone(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let mut container = Container::new(subject)?;
    let watch = container.start(isolator)?;
    for _ in 0..100 {
        good(container.usage(isolator), "usage")?;
        watch.quiet()?;
    }
    container.finish(isolator)
}

pub(super) fn cleanup_ends_the_watch(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let mut container = Container::new(subject)?;
    let watch = container.start(isolator)?;
    container.finish(isolator)?;
    watch.over("after cleanup")
}

pub(super) fn cleanup_twice_succeeds(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let mut container = Container::new(subject)?;
    container.start(isolator)?;
    container.finish(isolator)?;
    good(container.cleanup(isolator), "the second cleanup")
}

pub(super) fn a_prepared_container_can_be_cleaned_up_without_more(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let mut container = Container::new(subject)?;
    good(container.prepare(isolator), "prepare")?;
    container.finish(isolator)?;
    good(container.prepare(isolator), "prepare after that cleanup")?;
    let watch = container.watch(isolator);
    good(container.cleanup(isolator), "cleanup without `isolate`")?;
    watch.over("after cleanup without `isolate`")
}

pub(super) fn a_failed_prepare_can_be_cleaned_up(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let mut container = Container::new(subject)?;
    for amount in [f64::NAN, -1.0, f64::INFINITY, 1e300] {
        let nonsense = |resource: Resource| match &resource.scalar {
            Some(_) => Resource { scalar: Some(Scalar { value: amount }), ..resource },
            None => resource,
        };
        let config = container.config();
        let resources = config.resources.into_iter().map(nonsense).collect();
        let config = ContainerConfig { resources, ..container.config() };
        let id = Some(container.id.clone());
        // Whether it is refused is the isolator's own; that it can be cleaned up is not.
        let _ = isolator.prepare(PrepareRequest { container_id: id, config: Some(config) });
        good(container.cleanup(isolator), "cleanup after a `prepare` that makes no sense")?;
    }
    container.start(isolator)?;
    container.finish(isolator)
}

pub(super) fn a_second_prepare_does_no_harm(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let mut container = Container::new(subject)?;
    let watch = container.start(isolator)?;
    let (pending, before) = (watch.pending()?, container.measured(isolator)?);
    // An isolator that keeps something for each container refuses; one that keeps nothing cannot know.
    let _ = container.prepare(isolator);
    let after = container.measured(isolator)?;
    let lost: Vec<_> = before.difference(&after).collect();
    ensure(
        lost.is_empty(),
        || format!("after a second prepare `usage` tells no more of {lost:?}"),
        "the container is measured as before",
    )?;
    ensure(
        watch.pending()? == pending,
        || "the watch ended with a second prepare".to_owned(),
        "the container is limited as before: its watch is kept",
    )?;
    container.finish(isolator)?;
    watch.over("after cleanup")?;
    unknown_now(isolator, &container)
}

pub(super) fn an_id_can_be_used_again_after_cleanup(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let mut container = Container::new(subject)?;
    let first = container.start(isolator)?;
    container.finish(isolator)?;
    first.over("after cleanup")?;
    let mut again = Container::new(subject)?;
    again.id = container.id.clone();
    let watch = again.start(isolator)?;
    good(again.usage(isolator), "usage of the second container of an id")?;
    watch.quiet()?;
    again.finish(isolator)?;
    watch.over("after cleanup of the second container of an id")
}

pub(super) fn update_can_be_repeated(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let mut container = Container::new(subject)?;
    container.start(isolator)?;
    good(container.update(isolator), "update")?;
    good(container.update(isolator), "the same update again")?;
    container.finish(isolator)
}

pub(super) fn a_process_that_is_gone_does_no_harm(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let mut container = Container::new(subject)?;
    good(container.prepare(isolator), "prepare")?;
    let watch = container.watch(isolator);
    container.kill();
    let _ = container.isolate(isolator);
    // What is left of a process that has ended may be nothing: an error is an answer.
    let _ = container.usage(isolator);
    good(container.cleanup(isolator), "cleanup")?;
    watch.gone("after cleanup")
}

pub(super) fn odd_ids_do_no_harm(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let outside = subject.place().join("escaped");
    let long = "x".repeat(300);
    // Nobody else comes to harm by it.
    let mut bystander = Container::new(subject)?;
    let watch = bystander.start(isolator)?;
    for odd in ["../escaped", "a/../../escaped", ".", "..", "", "/", "a b\nc", "\0", long.as_str()]
    {
        let mut container = Container::new(subject)?;
        container.id = ContainerId { value: odd.to_owned(), parent: None };
        let prepared = container.prepare(isolator);
        container.kill();
        let cleaned = container.cleanup(isolator);
        ensure(
            prepared.is_err() || cleaned.is_ok(),
            || format!("id {odd:?} was prepared, but its cleanup failed: {cleaned:?}"),
            "what can be prepared can be cleaned up",
        )?;
    }
    bystander.running("after odd ids were cleaned up")?;
    good(bystander.usage(isolator), "usage of another container after odd ids were cleaned up")?;
    watch.quiet()?;
    bystander.finish(isolator)?;
    ensure(
        !outside.exists(),
        || format!("{} was made", outside.display()),
        "an id does not lead out of the isolator's own directories",
    )
}

pub(super) fn nested_containers_are_handled_if_it_says_so(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    if !good(isolator.capabilities(Default::default()), "capabilities")?.nesting() {
        return Ok(());
    }
    let mut outer = Container::new(subject)?;
    let outer_watch = outer.start(isolator)?;
    let mut inner = Container::nested(subject, &outer)?;
    let inner_watch = inner.start(isolator)?;
    good(inner.update(isolator), "update of a nested container")?;
    good(inner.usage(isolator), "usage of a nested container")?;
    good(inner.status(isolator), "status of a nested container")?;
    inner.finish(isolator)?;
    inner_watch.over("after cleanup of a nested container")?;
    good(outer.usage(isolator), "usage of the outer container")?;
    outer_watch.quiet()?;
    outer.finish(isolator)?;
    outer_watch.over("after cleanup")
}

pub(super) fn standalone_containers_are_handled_if_it_says_so(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    if !good(isolator.capabilities(Default::default()), "capabilities")?.standalone() {
        return Ok(());
    }
    let mut container = Container::new(subject)?;
    let config = ContainerConfig { executor_info: None, task_info: None, ..container.config() };
    let id = Some(container.id.clone());
    good(
        isolator.prepare(PrepareRequest { container_id: id, config: Some(config) }),
        "prepare of a container without an executor",
    )?;
    let watch = container.watch(isolator);
    good(container.isolate(isolator), "isolate")?;
    good(container.usage(isolator), "usage")?;
    container.finish(isolator)?;
    watch.over("after cleanup")
}

pub(super) fn what_a_launch_needs_is_well_formed(subject: &Subject) -> Verdict {
    let made = subject.make()?;
    let isolator = made.isolator();
    let mut container = Container::new(subject)?;
    let needs = good(container.prepare(isolator), "prepare")?.launch_info.unwrap_or_default();
    container.finish(isolator)?;
    well_formed(&needs)
}

fn well_formed(needs: &ContainerLaunchInfo) -> Verdict {
    for environment in needs.environment.iter().chain(&needs.task_environment) {
        variables(environment)?;
    }
    for mount in &needs.mounts {
        ensure(
            !mount.target.is_empty() && !mount.target.contains('\0'),
            || format!("a mount on {:?}", mount.target),
            "the path of a mount",
        )?;
    }
    let paths = needs.masked_paths.iter().chain(&needs.rootfs).chain(&needs.working_directory);
    for path in paths {
        ensure(
            path.starts_with('/') && !path.contains('\0'),
            || format!("the path {path:?}"),
            "an absolute path without a NUL",
        )?;
    }
    Ok(())
}

/// Whether each could stand in a process's environment.
pub(crate) fn variables(environment: &Environment) -> Verdict {
    for variable in &environment.variables {
        let name = &variable.name;
        if name.is_empty()
            || name.contains(['=', '\0'])
            || variable.value.as_ref().is_some_and(|value| value.contains('\0'))
        {
            return Err(Failure::new(
                format!("the variable {name:?} = {:?}", variable.value),
                "a name that is not empty and has no `=` in it, and no NUL anywhere",
            ));
        }
    }
    Ok(())
}
