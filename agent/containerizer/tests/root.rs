//! Real containers: namespaces, cgroups, other users. Needs root, and says so.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mezzo_containerizer::{Containerizer, ExitStatus, LaunchError, MezzoContainerizer};
use mezzo_linux::cgroup::{self, Cgroup, Hierarchies};
use mezzo_linux::launch::Namespaces;
use mezzo_linux::user::{User, is_root};
use mezzo_model::ContainerId;
use mezzo_module_api::v1::{
    CleanupRequest, CleanupResponse, IsolateRequest, IsolateResponse, PrepareRequest,
    PrepareResponse,
};
use mezzo_module_api::{Isolator, ModuleError};

use support::{PATIENCE, Scene, end, gone, process, run};

fn scene() -> Scene {
    assert!(
        is_root(),
        "these tests make namespaces and cgroups: run them as root, or leave them out by name (`--test real`)"
    );
    Scene::new(Namespaces::PID_AND_MOUNT)
}

/// A cgroup per container, of either version, as an isolator; below a root of this test's own.
struct PidsCgroup {
    root: PathBuf,
}

impl PidsCgroup {
    fn new(name: &str) -> Arc<Self> {
        let mount = match cgroup::detect().unwrap().expect("these tests need mounted cgroups") {
            Hierarchies::V1(found) => found.mount_of("pids").unwrap().to_owned(),
            Hierarchies::V2(found) => found.mount,
        };
        let root = mount.join(format!("mezzo-test-containers-{name}-{}", std::process::id()));
        fs::create_dir(&root).unwrap();
        Arc::new(Self { root })
    }

    fn of(&self, id: Option<mezzo_proto::v1::ContainerId>) -> Cgroup {
        Cgroup::new(self.root.join(id.unwrap().value))
    }

    fn containerizer(self: &Arc<Self>, scene: &Scene) -> MezzoContainerizer {
        let mut config = scene.config();
        let isolator: Arc<dyn Isolator> = Arc::clone(self) as _;
        config.isolators.push(mezzo_containerizer::isolator("pids", isolator));
        MezzoContainerizer::new(config)
    }
}

impl Isolator for PidsCgroup {
    fn prepare(&self, request: PrepareRequest) -> Result<PrepareResponse, ModuleError> {
        self.of(request.container_id).create().map_err(|e| ModuleError::internal(e.to_string()))?;
        Ok(PrepareResponse::default())
    }

    fn isolate(&self, request: IsolateRequest) -> Result<IsolateResponse, ModuleError> {
        let pid = i32::try_from(request.pid.unwrap()).unwrap();
        self.of(request.container_id)
            .attach(pid)
            .map_err(|e| ModuleError::internal(e.to_string()))?;
        Ok(IsolateResponse::default())
    }

    fn cleanup(&self, request: CleanupRequest) -> Result<CleanupResponse, ModuleError> {
        let cgroup = self.of(request.container_id);
        cgroup.remove(Duration::from_secs(10)).map_err(|e| ModuleError::internal(e.to_string()))?;
        Ok(CleanupResponse::default())
    }
}

impl Drop for PidsCgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.root);
    }
}

#[tokio::test]
async fn a_container_sees_only_itself() {
    let scene = scene();
    let script = "echo $$; for p in /proc/[0-9]*; do echo $p; done; exit 3";
    let termination = run(&scene.containerizer(), scene.spec("c", script)).await;
    assert_eq!(termination.exit, Some(ExitStatus::Exited(3)));
    assert_eq!(scene.text("c", "stdout"), "1\n/proc/1\n");
}

#[tokio::test]
async fn a_task_runs_as_its_user_in_a_sandbox_of_his() {
    let scene = scene();
    let mut spec = scene.spec("c", "id -un; touch mine");
    spec.config.user = Some("nobody".to_owned());
    let termination = run(&scene.containerizer(), spec).await;
    assert_eq!(termination.exit, Some(ExitStatus::Exited(0)), "{}", scene.text("c", "stderr"));
    assert_eq!(scene.text("c", "stdout"), "nobody\n");
    let nobody = User::by_name("nobody").unwrap().credentials;
    for name in ["", "stdout", "stderr", "mine"] {
        let owner = fs::metadata(scene.dir.path().join("c").join(name)).unwrap();
        assert_eq!((owner.uid(), owner.gid()), (nobody.uid, nobody.gid), "{name:?}");
    }
    assert_eq!(fs::metadata(scene.dir.path().join("c")).unwrap().mode() & 0o7777, 0o750);
}

#[tokio::test]
async fn everything_of_a_container_is_in_its_cgroup_before_it_runs_and_gone_after_it() {
    let scene = scene();
    let isolator = PidsCgroup::new("inside");
    let containerizer = isolator.containerizer(&scene);
    let script = "cat /proc/self/cgroup > cgroup; (setsid sh -c 'echo up > daemon; exec sleep 600' &); \
                  trap '' TERM; sleep 600 & echo up > self; while :; do sleep 600; done";
    let launched = containerizer.launch(scene.spec("c", script)).await.unwrap();
    scene.line("c", "daemon").await;
    scene.line("c", "self").await;
    let cgroup = Cgroup::new(isolator.root.join("c"));
    let mine = format!("/{}/c", isolator.root.file_name().unwrap().to_str().unwrap());
    assert!(scene.text("c", "cgroup").contains(&mine), "{}", scene.text("c", "cgroup"));
    let members = cgroup.procs().unwrap();
    assert!(
        members.len() >= 4 && members.contains(&i32::try_from(launched.pid).unwrap()),
        "{members:?}"
    );
    let members: Vec<_> = members.iter().map(|pid| process(&pid.to_string())).collect();

    let id = ContainerId::new("c");
    let termination = containerizer.destroy(&id).await.unwrap().unwrap();
    assert_eq!(
        termination.exit,
        Some(ExitStatus::Signaled(9)),
        "told by the launcher, which was not killed"
    );
    for member in members {
        gone(member).await;
    }
    assert!(!cgroup.exists());
    assert!(!scene.is_recorded("c"));
}

#[tokio::test]
async fn a_launcher_that_is_killed_takes_its_container_along() {
    let scene = scene();
    let isolator = PidsCgroup::new("launcher");
    let containerizer = isolator.containerizer(&scene);
    let launched =
        containerizer.launch(scene.spec("c", "echo up > self; exec sleep 600")).await.unwrap();
    scene.line("c", "self").await;
    let cgroup = Cgroup::new(isolator.root.join("c"));
    let members: Vec<_> =
        cgroup.procs().unwrap().iter().map(|pid| process(&pid.to_string())).collect();
    let launcher = mezzo_linux::process::ProcessHandle::open(i32::try_from(launched.pid).unwrap())
        .unwrap()
        .unwrap();
    launcher.signal(mezzo_linux::process::Signal::KILL).unwrap();
    let termination = end(&containerizer, &ContainerId::new("c")).await;
    assert_eq!(termination.exit, Some(ExitStatus::Signaled(9)));
    for member in members {
        gone(member).await;
    }
    assert!(!cgroup.exists());
}

#[tokio::test]
async fn a_cgroup_that_cannot_be_made_fails_the_launch_and_leaves_nothing() {
    let scene = scene();
    let isolator = PidsCgroup::new("taken");
    let containerizer = isolator.containerizer(&scene);
    fs::create_dir(isolator.root.join("c")).unwrap();
    let error = containerizer.launch(scene.spec("c", "touch ran")).await.unwrap_err();
    assert!(matches!(&error, LaunchError::Isolator { call: "prepare", .. }), "{error}");
    assert!(
        error
            .task_message()
            .starts_with("Failed to launch container: isolator 'pids' failed to prepare")
    );
    assert!(!scene.dir.path().join("c/ran").exists());
    assert!(!isolator.root.join("c").exists(), "cleaned up by the isolator that failed, too");
    assert!(!scene.is_recorded("c"));
}

#[tokio::test]
async fn a_host_mount_inside_a_container_stays_inside() {
    let scene = scene();
    let script = "mkdir inside && mount -t tmpfs none inside && touch inside/x && ls inside";
    let termination = run(&scene.containerizer(), scene.spec("c", script)).await;
    assert_eq!(termination.exit, Some(ExitStatus::Exited(0)), "{}", scene.text("c", "stderr"));
    assert_eq!(scene.text("c", "stdout"), "x\n");
    assert_eq!(fs::read_dir(scene.dir.path().join("c/inside")).unwrap().count(), 0);
}

#[tokio::test]
async fn sixty_four_containers_at_once() {
    let scene = scene();
    let isolator = PidsCgroup::new("many");
    let containerizer = isolator.containerizer(&scene);
    let launches = (0..64).map(|n| containerizer.launch(scene.spec(&n.to_string(), "exit 0")));
    let launched =
        tokio::time::timeout(PATIENCE, futures_util::future::join_all(launches)).await.unwrap();
    assert!(launched.into_iter().all(|l| l.is_ok()));
    for n in 0..64 {
        let termination = end(&containerizer, &ContainerId::new(&n.to_string())).await;
        assert_eq!(termination.exit, Some(ExitStatus::Exited(0)));
    }
    assert_eq!(
        fs::read_dir(&isolator.root)
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_type().unwrap().is_dir())
            .count(),
        0
    );
}
