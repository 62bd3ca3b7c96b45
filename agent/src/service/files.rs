//! Reading sandboxes. A path is what the sandbox is called for people, `/frameworks/F/executors/E/runs/latest/stdout`, or where
//! it really is, below the work directory; everything after the run is read without ever leaving the sandbox.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use mezzo_linux::sandbox::{Entry, Sandbox, SandboxError};
use mezzo_model::{AgentId, ContainerId, ExecutorId, FrameworkId};
use mezzo_proto::v1::agent::response::{ListFiles, ReadFile};
use mezzo_proto::v1::{FileInfo, TimeInfo};
use mezzo_runtime::status::{ErrorCode, Failure};

use super::Facade;
use crate::store::Layout;

/// The most that one call reads; whoever wants more asks again.
const MOST: usize = 1 << 20;

impl Facade {
    pub(crate) async fn list_files(&self, path: String) -> Result<ListFiles, Failure> {
        let (layout, own) = (self.layout.clone(), self.agent.borrow().clone());
        blocking(move || {
            let place = Place::find(&layout, own.as_ref(), &path)?;
            let entries =
                place.open(&path)?.list(&place.inside).map_err(|error| refused(&path, &error))?;
            let base = path.trim_end_matches('/');
            Ok(ListFiles {
                file_infos: entries.into_iter().map(|entry| describe(base, entry)).collect(),
            })
        })
        .await
    }

    pub(crate) async fn read_file(
        &self,
        path: String,
        offset: u64,
        length: Option<u64>,
    ) -> Result<ReadFile, Failure> {
        let (layout, own) = (self.layout.clone(), self.agent.borrow().clone());
        blocking(move || {
            let place = Place::find(&layout, own.as_ref(), &path)?;
            let length = length.and_then(|l| usize::try_from(l).ok()).map_or(MOST, |l| l.min(MOST));
            let chunk = place
                .open(&path)?
                .read_at(&place.inside, offset, length)
                .map_err(|error| refused(&path, &error))?;
            Ok(ReadFile { size: chunk.size, data: Bytes::from(chunk.data) })
        })
        .await
    }
}

/// A sandbox, and a path inside it that is not to be trusted.
#[derive(Debug)]
struct Place {
    sandbox: PathBuf,
    inside: String,
}

impl Place {
    fn find(layout: &Layout, own: Option<&AgentId>, path: &str) -> Result<Self, Failure> {
        let invalid = || {
            Failure::invalid(
                "path",
                path,
                "/frameworks/<framework>/executors/<executor>/runs/<container or latest>/… or the path of a sandbox",
            )
        };
        let work_dir = layout.work_dir().to_string_lossy().into_owned();
        let rest = path.strip_prefix(work_dir.as_str()).unwrap_or(path);
        let mut parts = rest.split('/').filter(|part| !part.is_empty()).peekable();
        let mut agent = own.map(|id| id.as_str().to_owned());
        // "slaves" is what tools for Mesos say.
        if parts.next_if(|part| matches!(*part, "agents" | "slaves")).is_some() {
            let id = AgentId::parse(parts.next().ok_or_else(invalid)?).map_err(|_| invalid())?;
            agent = Some(id.as_str().to_owned());
        }
        let mut expect = |word: &str| {
            parts.next().filter(|part| *part == word).and_then(|_| parts.next()).ok_or_else(invalid)
        };
        let framework = FrameworkId::parse(expect("frameworks")?).map_err(|_| invalid())?;
        let executor = ExecutorId::parse(expect("executors")?).map_err(|_| invalid())?;
        let run = ContainerId::parse(expect("runs")?).map_err(|_| invalid())?;
        let inside = parts.collect::<Vec<_>>().join("/");

        let not_found = || Failure::not_found("file", path);
        let runs = layout.sandboxes(&agent.ok_or_else(not_found)?, &framework, &executor);
        let run = match run.as_str() {
            "latest" => latest(&runs).ok_or_else(not_found)?,
            run => run.to_owned(),
        };
        Ok(Self { sandbox: runs.join(run), inside })
    }

    fn open(&self, path: &str) -> Result<Sandbox, Failure> {
        Sandbox::open(&self.sandbox).map_err(|error| refused(path, &error))
    }
}

/// The name that the link points to. It is the agent's own, outside of every sandbox.
fn latest(runs: &Path) -> Option<String> {
    let target = std::fs::read_link(runs.join("latest")).ok()?;
    ContainerId::parse(target.to_str()?).ok().map(|id| id.as_str().to_owned())
}

fn refused(path: &str, error: &SandboxError) -> Failure {
    match error {
        SandboxError::NotFound { .. } => Failure::not_found("file", path),
        SandboxError::Escapes { .. } => {
            Failure::new(ErrorCode::PermissionDenied, format!("path {path:?}: {error}"))
        }
        SandboxError::WrongKind { .. } => {
            Failure::new(ErrorCode::FailedPrecondition, format!("path {path:?}: {error}"))
        }
        SandboxError::Io { source, .. } => {
            Failure::new(ErrorCode::Internal, format!("path {path:?}: {error}: {source}"))
        }
    }
}

fn describe(base: &str, entry: Entry) -> FileInfo {
    let nanoseconds = entry
        .modified_secs
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(entry.modified_nanos));
    FileInfo {
        path: format!("{base}/{}", entry.name),
        nlink: i32::try_from(entry.links).ok(),
        size: Some(entry.size),
        mtime: Some(TimeInfo { nanoseconds }),
        mode: Some(entry.mode),
        uid: Some(entry.uid.to_string()),
        gid: Some(entry.gid.to_string()),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Failure::new(ErrorCode::Internal, "reading the sandbox panicked")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use mezzo_model::AgentId;
    use mezzo_runtime::status::ErrorCode;

    use super::{Place, refused};
    use crate::store::Layout;

    fn world() -> (tempfile::TempDir, Layout, AgentId) {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("agents/a1/frameworks/f1/executors/e1/runs");
        fs::create_dir_all(runs.join("c1/sub")).unwrap();
        fs::write(runs.join("c1/stdout"), "hello").unwrap();
        fs::write(dir.path().join("secret"), "no").unwrap();
        symlink("c1", runs.join("latest")).unwrap();
        symlink(dir.path().join("secret"), runs.join("c1/link")).unwrap();
        let layout = Layout::new(dir.path());
        (dir, layout, AgentId::new("a1"))
    }

    fn read(layout: &Layout, id: &AgentId, path: &str) -> Result<Vec<u8>, ErrorCode> {
        let place = Place::find(layout, Some(id), path).map_err(|e| e.code())?;
        let sandbox = place.open(path).map_err(|e| e.code())?;
        sandbox.read_at(&place.inside, 0, 100).map(|c| c.data).map_err(|e| refused(path, &e).code())
    }

    #[test]
    fn a_sandbox_is_read_by_each_of_its_names() {
        let (dir, layout, id) = world();
        let real =
            format!("{}/agents/a1/frameworks/f1/executors/e1/runs/c1/stdout", dir.path().display());
        for path in [
            "/frameworks/f1/executors/e1/runs/latest/stdout",
            "frameworks/f1/executors/e1/runs/c1/stdout",
            "/slaves/a1/frameworks/f1/executors/e1/runs/latest/sub/../stdout",
            &real,
        ] {
            assert_eq!(read(&layout, &id, path).unwrap(), b"hello", "{path}");
        }
    }

    #[test]
    fn nothing_outside_a_sandbox_is_read() {
        let (_dir, layout, id) = world();
        let base = "/frameworks/f1/executors/e1/runs/latest";
        assert_eq!(read(&layout, &id, &format!("{base}/link")), Err(ErrorCode::PermissionDenied));
        assert_eq!(
            read(&layout, &id, &format!("{base}/../../../../../../../secret")),
            Err(ErrorCode::PermissionDenied)
        );
        for path in [
            "/etc/passwd",
            "",
            "/frameworks/../x",
            "/frameworks/f1/executors/../runs/latest/stdout",
        ] {
            assert_eq!(read(&layout, &id, path), Err(ErrorCode::InvalidArgument), "{path}");
        }
        assert_eq!(
            read(&layout, &id, "/frameworks/f1/executors/e2/runs/latest/stdout"),
            Err(ErrorCode::NotFound)
        );
        assert_eq!(read(&layout, &id, &format!("{base}/nothing")), Err(ErrorCode::NotFound));
    }
}
