//! Hook `remove-executor`: keeps what an executor leaves behind.
//!
//! When an executor is forgotten its sandbox is packed into `<archive_dir>/<framework>-<executor>-<container>.sandbox.tar.gz`,
//! readable by the agent's user alone, so that it outlives the sandbox. Regular files, directories and symbolic links
//! (as links) go in; sockets, pipes, devices and what is mounted there from elsewhere are left out. No link is followed.
//! A file that changes while it is read is archived as far as it went. What was left out is told in the log.
//!
//! | parameter | default | meaning |
//! |---|---|---|
//! | `archive_dir` | required | Where the archives go; made when missing. |
//! | `max_file_size` | `1GB` | A larger file is left out. |
//! | `max_sandbox_size` | `10GB` | Files that would make the sum of one sandbox larger are left out. |
//! | `max_archives` | no limit | Above this number the oldest archives go. |
//! | `max_archives_size` | no limit | Above this the oldest archives go until the rest is smaller. |
//!
//! An archive appears under its name when it is complete; when the disk is full there is none. Counters: `archives`,
//! `left_out`, `archives_removed`.

mod archive;
mod shelf;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mezzo_module_abi::export_module;
use mezzo_module_api::v1::{AgentRemoveExecutorRequest, AgentRemoveExecutorResponse};
use mezzo_module_api::{Hook, Host, ModuleError, Parameters};

use crate::archive::{LeftOut, Limits};
use crate::shelf::Shelf;

const MAX_FILE_SIZE: u64 = 1 << 30;
const MAX_SANDBOX_SIZE: u64 = 10 << 30;

/// Archives sandboxes into a directory.
#[derive(Debug)]
pub struct RemoveExecutor {
    host: Host,
    limits: Limits,
    shelf: Shelf,
    /// One at a time counts and removes archives.
    tidying: Mutex<()>,
}

impl RemoveExecutor {
    /// The hook for these parameters; makes the directory.
    ///
    /// # Errors
    /// When `archive_dir` is missing or cannot be made, or a parameter is wrong.
    pub fn new(host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        parameters.allow_only(&[
            "archive_dir",
            "max_file_size",
            "max_sandbox_size",
            "max_archives",
            "max_archives_size",
        ])?;
        let Some(dir) = parameters.get("archive_dir").filter(|dir| !dir.is_empty()) else {
            return Err(ModuleError::invalid(
                "parameter `archive_dir` is missing, expected a directory for the archives",
            ));
        };
        let limits = Limits {
            file: parameters.size("max_file_size")?.unwrap_or(MAX_FILE_SIZE),
            sandbox: parameters.size("max_sandbox_size")?.unwrap_or(MAX_SANDBOX_SIZE),
        };
        let shelf = Shelf {
            dir: PathBuf::from(dir),
            max_archives: parameters.parse("max_archives")?,
            max_size: parameters.size("max_archives_size")?,
        };
        // Sandboxes hold what their users may not want others to see.
        DirBuilder::new().recursive(true).mode(0o700).create(&shelf.dir).map_err(|error| {
            ModuleError::invalid(format!(
                "parameter `archive_dir` is `{dir}`, which cannot be made: {error}"
            ))
        })?;
        Ok(Self { host, limits, shelf, tidying: Mutex::new(()) })
    }

    /// Says what is missing, in one line however much it is.
    fn tell(&self, archive: &Path, left_out: &LeftOut) {
        if left_out.count == 0 {
            return;
        }
        self.host.count("left_out", left_out.count);
        let named = u64::try_from(left_out.examples.len()).unwrap_or(0);
        let more = match left_out.count.saturating_sub(named) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        self.host.warn(format!(
            "not in the archive `{}`: {}{more}",
            archive.display(),
            left_out.examples.join(", ")
        ));
    }

    fn tidy(&self, archive: &Path) {
        let _only = self.tidying.lock().unwrap_or_else(PoisonError::into_inner);
        match self.shelf.tidy(archive) {
            Ok(removed) => self.host.count("archives_removed", removed),
            Err(error) => self.host.warn(format!(
                "cannot remove old archives from `{}`: {error}",
                self.shelf.dir.display()
            )),
        }
    }
}

impl Hook for RemoveExecutor {
    fn agent_remove_executor(
        &self,
        request: AgentRemoveExecutorRequest,
    ) -> Result<AgentRemoveExecutorResponse, ModuleError> {
        let executor = request.executor.unwrap_or_default();
        let framework = request
            .framework
            .and_then(|framework| framework.id)
            .or_else(|| executor.framework_id.clone());
        let framework = framework.unwrap_or_default().value;
        let container = request.container_id.unwrap_or_default();
        let name = shelf::name(&[&framework, &executor.executor_id.value, &container.value]);
        let Some(sandbox) = request.directory.filter(|directory| !directory.is_empty()) else {
            return Err(ModuleError::invalid("the request names no sandbox directory"));
        };
        let (archive, partial) = self.shelf.paths(&name);
        let packed = archive::pack(Path::new(&sandbox), &archive, &partial, self.limits);
        let left_out = packed.map_err(|error| {
            ModuleError::internal(format!(
                "cannot archive `{sandbox}` to `{}`: {error}",
                archive.display()
            ))
        })?;
        self.tell(&archive, &left_out);
        self.host.count("archives", 1);
        self.tidy(&archive);
        Ok(AgentRemoveExecutorResponse::default())
    }
}

export_module! {
    hook "remove-executor" ("archives the sandbox of an executor that is forgotten") = RemoveExecutor::new;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::collections::BTreeMap;
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use mezzo_proto::v1::{ContainerId, ExecutorId, ExecutorInfo, FrameworkId, FrameworkInfo};

    use super::*;

    const NAME: &str = "fw_1-exec-c.sandbox.tar.gz";

    /// A sandbox, what is beside it, and the archives.
    struct World(tempfile::TempDir);

    impl World {
        fn new() -> Self {
            let world = Self(tempfile::tempdir().unwrap());
            fs::create_dir(world.sandbox()).unwrap();
            world
        }

        fn sandbox(&self) -> PathBuf {
            self.0.path().join("sandbox")
        }

        fn archives(&self) -> PathBuf {
            self.0.path().join("archives")
        }

        /// Archives the sandbox; what is in the archive by path.
        fn archive(&self, more: &[(&str, &str)]) -> BTreeMap<String, String> {
            self.try_archive(more).unwrap();
            contents(&self.archives().join(NAME))
        }

        fn try_archive(&self, more: &[(&str, &str)]) -> Result<(), ModuleError> {
            let archives = self.archives();
            let mut pairs = vec![("archive_dir", archives.to_str().unwrap())];
            pairs.extend(more);
            let hook = RemoveExecutor::new(Host::silent(), Parameters::from_pairs(&pairs))?;
            hook.agent_remove_executor(request(&self.sandbox(), "c")).map(drop)
        }
    }

    fn request(sandbox: &Path, container: &str) -> AgentRemoveExecutorRequest {
        AgentRemoveExecutorRequest {
            framework: Some(FrameworkInfo {
                id: Some(FrameworkId { value: "fw/1".into() }),
                ..FrameworkInfo::default()
            }),
            executor: Some(ExecutorInfo {
                executor_id: ExecutorId { value: "exec".into() },
                ..ExecutorInfo::default()
            }),
            container_id: Some(ContainerId { value: container.into(), ..ContainerId::default() }),
            directory: Some(sandbox.to_str().unwrap().into()),
        }
    }

    /// Paths with text; of a link, what it points to.
    fn contents(archive: &Path) -> BTreeMap<String, String> {
        let unpacked = flate2::read::GzDecoder::new(File::open(archive).unwrap());
        let mut archive = tar::Archive::new(unpacked);
        let mut found = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            if let Some(target) = entry.link_name().unwrap() {
                text = format!("-> {}", target.display());
            }
            found.insert(entry.path().unwrap().display().to_string(), text);
        }
        found
    }

    fn listing(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn the_sandbox_is_archived_with_its_links_as_links() {
        let world = World::new();
        let sandbox = world.sandbox();
        fs::create_dir_all(sandbox.join("logs/empty")).unwrap();
        fs::write(sandbox.join("stdout"), "hello\n").unwrap();
        fs::write(sandbox.join("logs/err"), "").unwrap();
        fs::write(world.0.path().join("secret"), "outside").unwrap();
        fs::create_dir(world.0.path().join("elsewhere")).unwrap();
        fs::write(world.0.path().join("elsewhere/secret"), "outside").unwrap();
        symlink("../secret", sandbox.join("link")).unwrap();
        symlink("../elsewhere", sandbox.join("folder")).unwrap();
        let long = "x".repeat(200);
        symlink(&long, sandbox.join(&long)).unwrap();

        let found = world.archive(&[]);
        let pairs = [
            ("folder", "-> ../elsewhere"),
            ("link", "-> ../secret"),
            ("logs", ""),
            ("logs/empty", ""),
            ("logs/err", ""),
            ("stdout", "hello\n"),
        ];
        let mut expected: BTreeMap<_, _> =
            pairs.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
        expected.insert(long.clone(), format!("-> {long}"));
        assert_eq!(found, expected);
        assert_eq!(listing(&world.archives()), [NAME], "nothing half-made is left");
    }

    #[test]
    fn only_the_agents_user_may_read_archives() {
        let world = World::new();
        world.archive(&[]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&world.archives()), 0o700);
        assert_eq!(mode(&world.archives().join(NAME)), 0o600);
    }

    #[test]
    fn what_is_too_large_or_no_file_is_left_out_and_told() {
        #[derive(Clone, Default)]
        struct Told(std::sync::Arc<Mutex<Vec<String>>>);
        impl mezzo_module_api::HostServices for Told {
            fn log(&self, _: mezzo_module_api::Level, message: &str) {
                self.0.lock().unwrap().push(message.to_owned());
            }
            fn count(&self, counter: &str, delta: u64) {
                self.0.lock().unwrap().push(format!("{counter} +{delta}"));
            }
        }
        let world = World::new();
        let sandbox = world.sandbox();
        fs::write(sandbox.join("big"), "0123456789").unwrap();
        fs::write(sandbox.join("small"), "01234567").unwrap();
        let _socket = UnixListener::bind(sandbox.join("socket")).unwrap();
        let told = Told::default();
        let archives = world.archives();
        let pairs = [("archive_dir", archives.to_str().unwrap()), ("max_file_size", "8B")];
        let host = Host::new(told.clone(), mezzo_module_api::HostProcess::default());
        let hook = RemoveExecutor::new(host, Parameters::from_pairs(&pairs)).unwrap();
        hook.agent_remove_executor(request(&sandbox, "c")).unwrap();
        let found = contents(&archives.join(NAME));
        assert_eq!(found.into_keys().collect::<Vec<_>>(), ["small"]);
        let told = told.0.lock().unwrap().join("\n");
        for words in [
            "left_out +2",
            "`big` (larger than max_file_size)",
            "`socket` (neither file, directory nor link)",
            "archives +1",
        ] {
            assert!(told.contains(words), "{words} is not in {told}");
        }
    }

    #[test]
    fn a_sandbox_goes_in_up_to_its_limit() {
        let world = World::new();
        for name in ["a", "b", "c", "d"] {
            fs::write(world.sandbox().join(name), "0123456789").unwrap();
        }
        let sparse = File::create(world.sandbox().join("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let found = world.archive(&[("max_sandbox_size", "29B"), ("max_file_size", "1000TB")]);
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_archived_as_far_as_paths_go() {
        let world = World::new();
        let step = "d".repeat(200);
        let mut dir: std::os::fd::OwnedFd = File::open(world.sandbox()).unwrap().into();
        for _ in 0..40 {
            rustix::fs::mkdirat(&dir, step.as_str(), rustix::fs::Mode::RWXU).unwrap();
            let flags = rustix::fs::OFlags::DIRECTORY;
            dir =
                rustix::fs::openat(&dir, step.as_str(), flags, rustix::fs::Mode::empty()).unwrap();
        }
        assert_eq!(world.archive(&[]).len(), 4095 / 201);
        // The standard library removes such trees as well.
        fs::remove_dir_all(world.sandbox()).unwrap();
    }

    #[test]
    fn old_archives_go() {
        let world = World::new();
        let archives = world.archives();
        let pairs = [("archive_dir", archives.to_str().unwrap()), ("max_archives", "2")];
        let hook = RemoveExecutor::new(Host::silent(), Parameters::from_pairs(&pairs)).unwrap();
        for container in ["a", "b", "c"] {
            hook.agent_remove_executor(request(&world.sandbox(), container)).unwrap();
        }
        let left = listing(&archives);
        assert!(left.len() == 2 && left.contains(&NAME.to_owned()), "{left:?}");
    }

    #[test]
    fn a_sandbox_that_is_gone_and_an_archive_that_cannot_be_made_leave_nothing() {
        let world = World::new();
        fs::remove_dir(world.sandbox()).unwrap();
        let error = world.try_archive(&[]).unwrap_err();
        assert!(error.message.contains("sandbox` to `"), "{error}");
        assert_eq!(listing(&world.archives()), [""; 0]);
        // A directory in the way: the last step, the renaming, fails.
        fs::create_dir_all(world.archives().join(NAME).join("x")).unwrap();
        fs::create_dir(world.sandbox()).unwrap();
        world.try_archive(&[]).unwrap_err();
        assert_eq!(listing(&world.archives()), [NAME]);
    }

    #[test]
    fn wrong_parameters_are_refused_at_start() {
        let make = |pairs: &[(&str, &str)]| {
            RemoveExecutor::new(Host::silent(), Parameters::from_pairs(pairs)).unwrap_err().message
        };
        assert_eq!(
            make(&[]),
            "parameter `archive_dir` is missing, expected a directory for the archives"
        );
        assert!(make(&[("archive_dir", "/proc/x")]).contains("which cannot be made"));
        assert!(make(&[("archive_dir", "/x"), ("max_file_size", "8")]).contains("`8`"));
        assert!(make(&[("archive_dir", "/x"), ("max_archives", "-1")]).contains("`-1`"));
        assert!(make(&[("archive", "/x")]).starts_with("unknown parameter"));
    }
}
