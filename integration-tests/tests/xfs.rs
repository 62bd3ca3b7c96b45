//! An agent whose work directory is on XFS, with `disk/xfs`. Wants root and a kernel that has XFS, which is why plain `cargo test`
//! leaves it out: `cargo xtask vm-test` runs it in a virtual machine. Fails loudly anywhere else.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

#[allow(dead_code, reason = "the cluster's tests use more of it")]
#[path = "cluster/framework.rs"]
mod framework;
#[path = "../../agent/linux/tests/support/xfs.rs"]
mod xfs;

use std::path::PathBuf;

use mezzo_integration_tests::{Cluster, Process, slowness, until};
use mezzo_sdk::Task;
use mezzo_sdk::v1::TaskState::{TaskFailed, TaskFinished};
use mezzo_sdk::v1::agent::agent_service_client::AgentServiceClient;
use mezzo_sdk::v1::agent::call::GetContainers;
use mezzo_sdk::v1::task_status::Reason;

use framework::TestFramework;
use xfs::XfsMount;

type Done = anyhow::Result<()>;

/// A master, and an agent with disk to give away on an XFS of its own.
struct Scene {
    cluster: Cluster,
    agent: Option<Process>,
    address: String,
    mount: XfsMount,
}

impl Scene {
    async fn new(flags: &[&str]) -> anyhow::Result<Self> {
        let cluster = Cluster::quick().agents(0).start().await?;
        let mount = XfsMount::new("prjquota");
        let mut scene = Self { cluster, agent: None, address: String::new(), mount };
        scene.start_agent(flags, 1).await?;
        Ok(scene)
    }

    /// `life` counts from 1.
    async fn start_agent(&mut self, flags: &[&str], life: usize) -> anyhow::Result<()> {
        let mut all = vec![
            format!("--master={}", self.cluster.master_address()),
            format!("--work_dir={}", self.mount.path().join("work").display()),
            format!("--cgroups_root=mezzo-it-xfs-{}", std::process::id()),
            format!("--executor_reregistration_timeout={}secs", 2 * slowness()),
            "--port=0".to_owned(),
            "--hostname=127.0.0.1".to_owned(),
            "--resources=cpus:4;mem:2048;disk:200".to_owned(),
            "--isolation=cgroups/cpu,cgroups/mem,disk/xfs".to_owned(),
        ];
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let mut agent = Process::start("mezzo-agent", &all, &self.log())?;
        self.address = agent.address("listening", life).await?.to_string();
        self.agent = Some(agent);
        self.cluster.agents_are_active(1).await
    }

    fn log(&self) -> PathBuf {
        self.cluster.folder().join("agent.log")
    }
}

impl Drop for Scene {
    /// An agent that is told to end leaves its containers be; here nobody comes back for them.
    fn drop(&mut self) {
        self.agent = None;
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "that is where a failing test is explained")]
            {
                eprintln!("--- agent\n{}", std::fs::read_to_string(self.log()).unwrap_or_default());
            }
        }
    }
}

#[tokio::test]
async fn a_task_cannot_write_more_than_the_disk_that_it_asked_for() -> Done {
    let scene = Scene::new(&["--enforce_container_disk_quota"]).await?;
    let mut framework = TestFramework::connect(&scene.cluster).await?;
    let write = |megabytes| format!("dd if=/dev/zero of=file bs=1M count={megabytes} 2>/dev/null");
    let end = framework.run(&Task::shell(write(4)).id("modest").disk(8.0)).await?;
    assert_eq!(end.state(), TaskFinished, "{end:?}");
    let script = format!("{} || exit 7", write(16));
    let end = framework.run(&Task::shell(script).id("greedy").disk(8.0)).await?;
    assert_eq!(end.state(), TaskFailed, "{end:?}");
    assert_eq!(end.message(), "Command exited with status 7", "{end:?}");
    framework.teardown().await;
    Ok(())
}

#[tokio::test]
async fn a_task_over_its_disk_is_ended_with_that_reason_also_by_the_agents_next_life() -> Done {
    let flags = [
        "--enforce_container_disk_quota",
        "--xfs_kill_containers",
        "--container_disk_watch_interval=200ms",
    ];
    let mut scene = Scene::new(&flags).await?;
    let mut framework = TestFramework::connect(&scene.cluster).await?;
    let task = "until test -e go; do sleep 0.05; done; dd if=/dev/zero of=file bs=1M count=12; exec sleep 600";
    framework.start(&Task::shell(format!("pwd; {task}")).id("t").disk(8.0)).await?;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", scene.address))?;
    let mut agent = AgentServiceClient::new(channel.connect().await?);
    until("the disk of its sandbox is counted", async || {
        let containers = agent.get_containers(GetContainers::default()).await?.into_inner();
        let statistics =
            containers.containers.into_iter().next().and_then(|c| c.resource_statistics);
        Ok(statistics
            .filter(|found| found.disk_limit_bytes() == 8 << 20 && found.disk_used_bytes() > 0))
    })
    .await?;

    scene.agent.take().unwrap().kill()?;
    scene.start_agent(&flags, 2).await?;
    let runs = scene.mount.path().join("work/agents");
    let sandbox = sandbox_below(&runs).unwrap();
    std::fs::write(sandbox.join("go"), "")?;
    let end = framework.ended("t").await?;
    assert_eq!(end.state(), TaskFailed, "{end:?}");
    assert_eq!(end.reason(), Reason::ContainerLimitationDisk, "{end:?}");
    assert!(end.message().contains("exceeds quota (8MB)"), "{end:?}");
    framework.teardown().await;
    Ok(())
}

/// The only sandbox: the directory that has a `stdout`.
fn sandbox_below(folder: &std::path::Path) -> Option<PathBuf> {
    if folder.join("stdout").is_file() {
        return Some(folder.to_owned());
    }
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).find_map(|below| sandbox_below(&below))
}
