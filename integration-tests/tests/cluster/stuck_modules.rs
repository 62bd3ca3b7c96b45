//! A module that does not come back: it is noticed, what it was asked for goes on without it or fails, nothing else waits, and
//! the process ends when it is told to.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use mezzo_integration_tests::{Builder, Cluster, Process, TEST_MODULES, manifest, until};
use mezzo_proto::module::v1::{MethodStatus, ModuleStatus};
use mezzo_sdk::Task;
use mezzo_sdk::v1::TaskState::{TaskFailed, TaskFinished, TaskKilled};
use mezzo_sdk::v1::task_status::Reason;
use rustix::process::{Pid, Signal, kill_process};

use crate::Done;
use crate::framework::TestFramework;

/// What a process that is told to stop may take, with all that hangs in it.
const STOP: Duration = Duration::from_secs(15);

/// Hangs there for the task `stuck`, or for all.
fn hanging(module: &str, on: &str, task: Option<&str>) -> String {
    let mut parameters = vec![("how", "hang"), ("on", on)];
    parameters.extend(task.map(|task| ("task", task)));
    manifest(TEST_MODULES, &[(module, &parameters)])
}

fn impatient(builder: Builder) -> Builder {
    builder.agent_flag("--module_watchdog=300ms").agent_flag("--module_call_timeout=1secs")
}

/// Waits until a module is told to have calls that do not come back.
async fn overdue(
    what: &str,
    mut modules: impl AsyncFnMut() -> anyhow::Result<Vec<ModuleStatus>>,
) -> anyhow::Result<MethodStatus> {
    until(&format!("{what} is overdue"), async || {
        let modules = modules().await?;
        let mut methods = modules.into_iter().flat_map(|module| module.methods);
        Ok(methods.find(|m| m.method() == what && m.overdue() > 0 && m.running() > 0))
    })
    .await
}

async fn agent_stops(cluster: &mut Cluster) -> Done {
    let begun = Instant::now();
    let status = cluster.stop_agent(0).await?;
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < STOP, "{:?}", begun.elapsed());
    Ok(())
}

#[tokio::test]
async fn decorators_that_hang_for_one_task_are_passed_over_and_others_do_not_wait() -> Done {
    let modules = hanging("test/breaks", "decorators", Some("stuck"));
    let builder = Cluster::quick()
        .master_flag(&modules)
        .master_flag("--hooks=test/breaks")
        .master_flag("--module_watchdog=300ms")
        .agent_flag(modules)
        .agent_flag("--hooks=test/breaks");
    let mut cluster = impatient(builder).start().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    framework.launch(&Task::shell("exit 0").id("stuck")).await?;
    assert_eq!(framework.run(&Task::shell("exit 0").id("other")).await?.state(), TaskFinished);
    assert_eq!(framework.ended("stuck").await?.state(), TaskFinished, "without the hook");
    let mut agent = cluster.agent(0).await?;
    for what in ["agent_run_task_labels", "agent_task_status", "agent_remove_executor"] {
        overdue(what, async || Ok(agent.get_modules(()).await?.into_inner().modules)).await?;
    }
    let mut master = cluster.master().await?;
    for what in ["master_launch_task_resources", "master_launch_task_labels"] {
        overdue(what, async || Ok(master.get_modules(()).await?.into_inner().modules)).await?;
    }
    // After that it is as if there were no hook.
    assert_eq!(framework.run(&Task::shell("exit 0").id("third")).await?.state(), TaskFinished);
    agent_stops(&mut cluster).await?;
    assert!(cluster.stop_master().await?.success());
    Ok(())
}

#[tokio::test]
async fn a_task_that_is_killed_while_a_hook_hangs_never_runs() -> Done {
    let mut cluster = Cluster::quick()
        .agent_flag(hanging("test/breaks", "agent_executor_environment", Some("stuck")))
        .agent_flag("--hooks=test/breaks")
        .agent_flag("--module_call_timeout=2secs")
        .start()
        .await?;
    let witness = cluster.folder().join("it-ran");
    let mut framework = TestFramework::connect(&cluster).await?;
    let task = Task::shell(format!("touch {}", witness.display())).id("stuck");
    framework.launch(&task).await?;
    let mut agent = cluster.agent(0).await?;
    let begun = "agent_executor_environment";
    until("the hook is asked", async || {
        let modules = agent.get_modules(()).await?.into_inner().modules;
        let mut methods = modules.iter().flat_map(|m| &m.methods);
        Ok(methods.any(|m| m.method() == begun && m.running() > 0).then_some(()))
    })
    .await?;
    framework.kill("stuck");
    assert_eq!(framework.ended("stuck").await?.state(), TaskKilled);
    // By then the hook has been given up.
    until("the hook is passed over", async || {
        Ok(cluster.agent_log(0).contains("a call is passed over").then_some(()))
    })
    .await?;
    assert_eq!(framework.run(&Task::shell("exit 0").id("after")).await?.state(), TaskFinished);
    assert!(!witness.exists());
    agent_stops(&mut cluster).await
}

#[tokio::test]
async fn a_hook_that_hangs_when_an_agent_starts_or_is_lost_is_not_waited_for() -> Done {
    let lost = hanging("test/breaks", "master_agent_lost", None);
    let builder = Cluster::quick()
        .master_flag(lost)
        .master_flag("--hooks=test/breaks")
        .master_flag("--module_watchdog=300ms")
        .agent_flag(hanging("test/breaks", "agent_resources", None))
        .agent_flag("--hooks=test/breaks");
    // Registers all the same.
    let mut cluster = impatient(builder).start().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    assert_eq!(framework.run(&Task::shell("exit 0").id("t")).await?.state(), TaskFinished);
    let pid = cluster.agent_pid(0).and_then(|pid| Pid::from_raw(pid.cast_signed()));
    kill_process(pid.context("no agent")?, Signal::USR1)?;
    let mut master = cluster.master().await?;
    overdue("master_agent_lost", async || Ok(master.get_modules(()).await?.into_inner().modules))
        .await?;
    assert_eq!(master.get_agents(()).await?.into_inner().agents.len(), 0);
    assert!(cluster.stop_master().await?.success());
    Ok(())
}

#[tokio::test]
async fn an_agent_whose_isolator_hangs_in_recovery_can_be_stopped() -> Done {
    let folder = tempfile::tempdir()?;
    let flags = [
        "--master=127.0.0.1:1".to_owned(),
        "--port=0".to_owned(),
        format!("--work_dir={}", folder.path().join("work").display()),
        hanging("test/breaks-isolation", "recover", None),
        "--isolation=test/breaks-isolation".to_owned(),
        "--module_watchdog=100ms".to_owned(),
    ];
    let mut agent = Process::start("mezzo-agent", &flags, &folder.path().join("log"))?;
    until("the watchdog tells", async || {
        Ok(agent.log().lines().any(|l| l.contains("WARN") && l.contains("recover")).then_some(()))
    })
    .await
    .with_context(|| agent.log())?;
    agent.signal(Signal::TERM)?;
    assert!(agent.ended().await?.success(), "{}", agent.log());
    Ok(())
}

#[tokio::test]
async fn a_check_that_hangs_fails_its_task_and_no_other() -> Done {
    for (module, on, flag) in [
        ("test/breaks", "agent_prelaunch", "--hooks=test/breaks"),
        ("test/breaks-isolation", "prepare", "--isolation=test/breaks-isolation,cgroups/cpu"),
    ] {
        let builder =
            Cluster::quick().agent_flag(hanging(module, on, Some("stuck"))).agent_flag(flag);
        let mut cluster = impatient(builder).start().await?;
        let mut framework = TestFramework::connect(&cluster).await?;
        framework.launch(&Task::shell("exit 0").id("stuck")).await?;
        assert_eq!(framework.run(&Task::shell("exit 0").id("other")).await?.state(), TaskFinished);
        let end = framework.ended("stuck").await?;
        assert_eq!(end.state(), TaskFailed, "{end:?}");
        assert_eq!(end.reason(), Reason::ContainerLaunchFailed, "{end:?}");
        assert!(end.message().contains("did not return within 1s"), "{end:?}");
        assert!(end.message().contains(&format!("'{module}'")), "{end:?}");
        agent_stops(&mut cluster).await?;
    }
    Ok(())
}

#[tokio::test]
async fn more_launches_that_hang_than_there_are_turns_keep_no_other_from_starting() -> Done {
    let modules = hanging("test/breaks-isolation", "prepare", Some("stuck"));
    let mut cluster = Cluster::quick()
        .resources("cpus:64;mem:8192;disk:8192")
        .agent_flag(modules)
        .agent_flag("--isolation=test/breaks-isolation,cgroups/cpu,cgroups/mem")
        .agent_flag("--module_watchdog=300ms")
        // Longer than this test: nothing fails, things just hang.
        .agent_flag("--module_call_timeout=10mins")
        .start()
        .await?;
    // A framework cannot have the same task id twice.
    let mut frameworks = Vec::new();
    for _ in 0..10 {
        let mut framework = TestFramework::connect(&cluster).await?;
        framework.launch(&Task::shell("exit 0").id("stuck").cpus(0.1).mem(32.0)).await?;
        frameworks.push(framework);
    }
    let mut framework = TestFramework::connect(&cluster).await?;
    let other = Task::shell("exit 0").id("other").cpus(0.1).mem(32.0);
    assert_eq!(framework.run(&other).await?.state(), TaskFinished);
    agent_stops(&mut cluster).await
}

#[tokio::test]
async fn an_isolator_that_hangs_in_usage_is_left_out_and_the_agent_answers() -> Done {
    let isolation = "--isolation=cgroups/cpu,cgroups/mem,test/breaks-isolation";
    let builder = Cluster::quick()
        .agent_flag(hanging("test/breaks-isolation", "usage", None))
        .agent_flag(isolation);
    let mut cluster = impatient(builder).start().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    framework.start(&Task::shell("exec sleep 10101").id("t")).await?;
    let mut agent = cluster.agent(0).await?;
    // More often than there are threads for it.
    for _ in 0..40 {
        let request = mezzo_proto::v1::agent::call::GetContainers::default();
        let containers = agent.get_containers(request).await?.into_inner().containers;
        let statistics = containers.first().and_then(|c| c.resource_statistics.as_ref());
        assert!(statistics.is_some_and(|s| s.cpus_user_time_secs.is_some()), "{containers:?}");
    }
    framework.teardown().await;
    agent_stops(&mut cluster).await
}

#[tokio::test]
async fn an_isolator_that_hangs_in_cleanup_does_not_keep_its_task_from_ending() -> Done {
    let builder = Cluster::quick()
        .agent_flag(hanging("test/breaks-isolation", "cleanup", None))
        .agent_flag("--cgroups_destroy_timeout=1secs")
        .agent_flag("--isolation=cgroups/cpu,cgroups/mem,test/breaks-isolation");
    let mut cluster = impatient(builder).start().await?;
    let mut framework = TestFramework::connect(&cluster).await?;
    assert_eq!(framework.run(&Task::shell("exit 0").id("t")).await?.state(), TaskFinished);
    agent_stops(&mut cluster).await
}

#[tokio::test]
async fn a_process_whose_module_hangs_while_it_is_made_can_be_stopped() -> Done {
    let folder = tempfile::tempdir()?;
    let common = [
        "--port=0".to_owned(),
        format!("--work_dir={}", folder.path().join("work").display()),
        "--module_watchdog=100ms".to_owned(),
    ];
    let mut agent = vec![
        "--master=127.0.0.1:1".to_owned(),
        hanging("test/breaks", "new", None),
        "--hooks=test/breaks".to_owned(),
    ];
    let mut master = vec![
        manifest(TEST_MODULES, &[("test/liar", &[("hangs", "new")])]),
        "--allocator=test/liar".to_owned(),
    ];
    agent.extend(common.clone());
    master.extend(common);
    for (name, flags) in [("mezzo-agent", agent), ("mezzo-master", master)] {
        let log = folder.path().join(name);
        let mut process = Process::start(name, &flags, &log)?;
        until("it is in the module", async || {
            let log = process.log();
            Ok((log.contains("test/breaks") || log.contains("test/liar")).then_some(()))
        })
        .await
        .with_context(|| process.log())?;
        process.signal(Signal::TERM)?;
        process.ended().await?;
        assert!(process.log().contains("stopped before it had started"), "{}", process.log());
    }
    Ok(())
}
