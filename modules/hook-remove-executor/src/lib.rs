//! Hook `remove-executor`: keeps what an executor leaves behind.
//!
//! When an executor is forgotten its sandbox is packed into `<archive_dir>/<framework>-<executor>-<container>.tar.gz`, so that it
//! outlives the sandbox. Only regular files, directories and symbolic links (as links) go in; sockets, pipes
//! and devices are left out. A file that changes while it is read is archived as far as it went.
//!
//! | parameter | meaning |
//! |---|---|
//! | `archive_dir` | Where the archives go; made when missing. Required. |
//! | `max_bytes` | A file larger than this is left out (its name is noted in the log). Default: no limit. |

mod archive;

use std::fs;
use std::path::{Path, PathBuf};

use mezzo_module_abi::export_module;
use mezzo_module_api::v1::{AgentRemoveExecutorRequest, AgentRemoveExecutorResponse};
use mezzo_module_api::{Hook, Host, ModuleError, Parameters};

/// Archives sandboxes into a directory.
#[derive(Debug)]
pub struct RemoveExecutor {
    host: Host,
    archive_dir: PathBuf,
    max_bytes: u64,
}

impl RemoveExecutor {
    /// The hook for these parameters; makes the directory.
    ///
    /// # Errors
    /// When `archive_dir` is missing or cannot be made, or a parameter is wrong.
    pub fn new(host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        parameters.allow_only(&["archive_dir", "max_bytes"])?;
        let Some(dir) = parameters.get("archive_dir").filter(|dir| !dir.is_empty()) else {
            return Err(ModuleError::invalid(
                "parameter `archive_dir` is missing, expected a directory for the archives",
            ));
        };
        let archive_dir = PathBuf::from(dir);
        fs::create_dir_all(&archive_dir).map_err(|error| {
            ModuleError::invalid(format!(
                "parameter `archive_dir` is `{dir}`, which cannot be made: {error}"
            ))
        })?;
        Ok(Self {
            host,
            archive_dir,
            max_bytes: parameters.parse("max_bytes")?.unwrap_or(u64::MAX),
        })
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
        let parts = [
            framework.unwrap_or_default().value,
            executor.executor_id.value,
            request.container_id.unwrap_or_default().value,
        ];
        let Some(sandbox) = request.directory else {
            return Err(ModuleError::invalid("the request names no sandbox directory"));
        };
        let archive = self.archive_dir.join(format!("{}.tar.gz", archive::file_stem(&parts)));
        let left_out =
            archive::pack(Path::new(&sandbox), &archive, self.max_bytes).map_err(|error| {
                ModuleError::internal(format!(
                    "cannot archive `{sandbox}` to `{}`: {error}",
                    archive.display()
                ))
            })?;
        for path in left_out {
            self.host.warn(format!(
                "`{}` is not in the archive `{}`",
                path.display(),
                archive.display()
            ));
        }
        self.host.count("archives", 1);
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
    use std::io::Read;

    use mezzo_proto::v1::{ContainerId, ExecutorId, ExecutorInfo, FrameworkId, FrameworkInfo};

    use super::*;

    fn request(sandbox: &Path) -> AgentRemoveExecutorRequest {
        AgentRemoveExecutorRequest {
            framework: Some(FrameworkInfo {
                id: Some(FrameworkId { value: "fw/1".into() }),
                ..FrameworkInfo::default()
            }),
            executor: Some(ExecutorInfo {
                executor_id: ExecutorId { value: "exec".into() },
                ..ExecutorInfo::default()
            }),
            container_id: Some(ContainerId { value: "c".into(), ..ContainerId::default() }),
            directory: Some(sandbox.to_str().unwrap().into()),
        }
    }

    fn contents(archive: &Path) -> BTreeMap<String, String> {
        let unpacked = flate2::read::GzDecoder::new(fs::File::open(archive).unwrap());
        let mut archive = tar::Archive::new(unpacked);
        let mut found = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.insert(entry.path().unwrap().display().to_string(), text);
        }
        found
    }

    #[test]
    fn the_sandbox_is_archived_with_its_links_as_links() {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = dir.path().join("sandbox");
        fs::create_dir_all(sandbox.join("logs")).unwrap();
        fs::write(sandbox.join("stdout"), "hello\n").unwrap();
        fs::write(sandbox.join("logs/big"), "0123456789").unwrap();
        fs::write(dir.path().join("secret"), "outside").unwrap();
        std::os::unix::fs::symlink("../secret", sandbox.join("link")).unwrap();

        let archives = dir.path().join("archives");
        let parameters = [("archive_dir", archives.to_str().unwrap()), ("max_bytes", "8")];
        let hook =
            RemoveExecutor::new(Host::silent(), Parameters::from_pairs(&parameters)).unwrap();
        hook.agent_remove_executor(request(&sandbox)).unwrap();

        let found = contents(&archives.join("fw_1-exec-c.tar.gz"));
        assert_eq!(found.get("stdout").map(String::as_str), Some("hello\n"));
        assert_eq!(
            found.get("link").map(String::as_str),
            Some(""),
            "a link is archived as a link, not as what it points to"
        );
        assert!(!found.contains_key("logs/big"));
        assert_eq!(fs::read_dir(&archives).unwrap().count(), 1, "nothing half-made is left");
    }

    #[test]
    fn a_sandbox_that_is_gone_is_an_error_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let parameters = [("archive_dir", dir.path().to_str().unwrap())];
        let hook =
            RemoveExecutor::new(Host::silent(), Parameters::from_pairs(&parameters)).unwrap();
        let error = hook.agent_remove_executor(request(Path::new("/does/not/exist"))).unwrap_err();
        assert!(error.message.starts_with("cannot archive `/does/not/exist` to "), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_archive_directory_is_required() {
        let error = RemoveExecutor::new(Host::silent(), Parameters::default()).unwrap_err();
        assert_eq!(
            error.message,
            "parameter `archive_dir` is missing, expected a directory for the archives"
        );
    }
}
