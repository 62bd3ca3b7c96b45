//! What an operator says by flags reaches the modules that it is for, under the same name, and isolators come in their order.

use mezzo_integration_tests::Cluster;

use crate::Done;
use crate::kernel;

#[tokio::test]
async fn flags_are_parameters_of_the_modules_that_know_them() -> Done {
    kernel::needs_root()?;
    let cluster = Cluster::quick()
        .agent_flag(
            "--isolation=network/ports,disk/du,cgroups/pids,cgroups/mem,posix/rlimits,cgroups/cpu",
        )
        .agent_flag("--cgroups_destroy_timeout=30secs")
        .agent_flag("--cgroups_enable_cfs")
        .agent_flag("--revocable_cpu_low_priority=false")
        .agent_flag("--pids_max=1000")
        .agent_flag("--container_disk_watch_interval=2secs")
        .agent_flag("--enforce_container_disk_quota")
        .agent_flag("--container_ports_watch_interval=500ms")
        .agent_flag("--check_agent_port_range_only")
        .start()
        .await?;
    let modules = cluster.agent(0).await?.get_modules(()).await?.into_inner().modules;
    let told: Vec<(&str, Vec<String>)> = modules
        .iter()
        .map(|module| {
            let mut parameters: Vec<String> = module
                .parameters
                .iter()
                .filter(|p| p.key != "cgroups_root")
                .map(|p| format!("{}={}", p.key, p.value))
                .collect();
            parameters.sort();
            (module.name(), parameters)
        })
        .collect();
    let told: Vec<(&str, Vec<&str>)> =
        told.iter().map(|(name, all)| (*name, all.iter().map(String::as_str).collect())).collect();
    assert_eq!(
        told,
        [
            ("posix/rlimits", vec![]),
            (
                "cgroups/cpu",
                vec![
                    "cgroups_destroy_timeout=30secs",
                    "cgroups_enable_cfs=true",
                    "revocable_cpu_low_priority=false",
                ]
            ),
            ("cgroups/mem", vec!["cgroups_destroy_timeout=30secs"]),
            ("cgroups/pids", vec!["cgroups_destroy_timeout=30secs", "pids_max=1000"]),
            (
                "disk/du",
                vec!["container_disk_watch_interval=2secs", "enforce_container_disk_quota=true"]
            ),
            (
                "network/ports",
                vec!["check_agent_port_range_only=true", "container_ports_watch_interval=500ms"]
            ),
        ]
    );
    Ok(())
}

#[tokio::test]
async fn names_that_stand_for_several_isolators_are_understood() -> Done {
    kernel::needs_root()?;
    for (isolation, expected) in [
        ("process", vec!["posix/cpu", "posix/mem"]),
        ("cgroups", vec!["cgroups/cpu", "cgroups/mem"]),
        ("cgroups/mem,cgroups/all", vec!["cgroups/all"]),
    ] {
        let cluster =
            Cluster::builder().agent_flag(format!("--isolation={isolation}")).start().await?;
        let modules = cluster.agent(0).await?.get_modules(()).await?.into_inner().modules;
        let names: Vec<&str> = modules.iter().map(|module| module.name()).collect();
        assert_eq!(names, expected, "{isolation}");
    }
    Ok(())
}
