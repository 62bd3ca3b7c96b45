//! What to start, and how: everything the launcher needs to know, as data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::user::Credentials;

/// What to start. Make one with [`LaunchSpec::new`] and set what differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchSpec {
    /// The program: a path, or a name to be looked up in the PATH of `env`.
    pub program: String,
    /// All arguments, the zeroth included.
    pub argv: Vec<String>,
    /// The whole environment (nothing is inherited). Of two entries with one name the later counts.
    pub env: Vec<(String, String)>,
    /// Where it starts; `None` stays where the launcher was started.
    pub cwd: Option<PathBuf>,
    /// Who it runs as; `None` stays who the launcher is.
    pub user: Option<Credentials>,
    /// Namespaces of its own. All need root.
    pub namespaces: Namespaces,
    /// How mount events pass between host and container; only with a mount namespace.
    pub propagation: Propagation,
    /// Mounts to make, in this order; only with a mount namespace.
    pub mounts: Vec<MountSpec>,
    /// Mount a fresh `/proc` (after `mounts`). With pid and mount namespaces this should be true, or the host's processes
    /// show.
    pub mount_proc: bool,
    /// The host name inside; only with a uts namespace.
    pub hostname: Option<String>,
    /// Put a minimal init above the program: it reaps orphans and passes signals on. For programs that do not do the duties
    /// of pid 1 themselves; only with a pid namespace.
    pub init: bool,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// File mode creation mask; `None` keeps the launcher's.
    pub umask: Option<u32>,
    /// Forbid gaining privileges by exec (setuid programs).
    pub no_new_privs: bool,
    /// How willingly the kernel kills it when memory runs out, -1000 to 1000; `None` keeps the launcher's.
    pub oom_score_adj: Option<i32>,
    /// Standard input.
    pub stdin: Stream,
    /// Standard output.
    pub stdout: Stream,
    /// Standard error.
    pub stderr: Stream,
    /// Where to write the raw wait status, in decimal, once it has ended.
    pub status_file: Option<PathBuf>,
    /// Where to write pid (as seen by the launcher) and start time of the program: `PID START`.
    pub pid_file: Option<PathBuf>,
}

/// Which namespaces are made new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Namespaces {
    /// Processes: the program is pid 1, and when it ends the kernel kills all that is left.
    pub pid: bool,
    /// Mounts.
    pub mount: bool,
    /// System V and POSIX message queues, semaphores, shared memory.
    pub ipc: bool,
    /// Host name.
    pub uts: bool,
    /// Network: an empty one, not even loopback is up.
    pub network: bool,
    /// View of cgroups: the container's own cgroups look like the root.
    pub cgroup: bool,
}

impl Namespaces {
    /// None at all: works as any user.
    pub const NONE: Self =
        Self { pid: false, mount: false, ipc: false, uts: false, network: false, cgroup: false };
    /// What every container gets when the agent is root.
    pub const PID_AND_MOUNT: Self = Self { pid: true, mount: true, ..Self::NONE };

    /// True when any is asked for (then root is needed).
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::NONE
    }
}

/// How mount events pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    /// What the host mounts later shows inside; what is mounted inside stays inside.
    #[default]
    FromHost,
    /// Nothing passes either way.
    Private,
}

/// One mount, as `mount(2)` wants it. The target may not pass a symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountSpec {
    /// What is mounted: a path for bind mounts, otherwise a word shown in the mount table.
    pub source: Option<String>,
    /// Where; must exist.
    pub target: PathBuf,
    /// File system type, for example `tmpfs`.
    pub kind: Option<String>,
    /// `MS_…` bits.
    pub flags: u64,
    /// Options of the file system, separated by commas.
    pub options: Option<String>,
}

impl MountSpec {
    /// Shows `source` (a file or directory, with what is mounted below it) at `target` as well.
    #[must_use]
    pub fn bind(source: impl Into<String>, target: impl Into<PathBuf>) -> Self {
        let flags = nix::libc::MS_BIND | nix::libc::MS_REC;
        Self {
            source: Some(source.into()),
            target: target.into(),
            kind: None,
            flags,
            options: None,
        }
    }

    /// The same, but it cannot be written through `target`.
    #[must_use]
    pub fn bind_read_only(source: impl Into<String>, target: impl Into<PathBuf>) -> Self {
        let mut mount = Self::bind(source, target);
        mount.flags |= nix::libc::MS_RDONLY;
        mount
    }

    /// A file system in memory of at most `bytes`.
    #[must_use]
    pub fn tmpfs(target: impl Into<PathBuf>, bytes: u64) -> Self {
        Self {
            source: Some("tmpfs".to_owned()),
            target: target.into(),
            kind: Some("tmpfs".to_owned()),
            flags: nix::libc::MS_NOSUID | nix::libc::MS_NODEV,
            options: Some(format!("mode=1777,size={bytes}")),
        }
    }
}

/// One of the program's standard streams.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// The launcher's own (what the agent gave to [`spawn`](super::spawn)). For standard input the same as `Null`.
    #[default]
    Inherit,
    /// Nothing to read, writes vanish.
    Null,
    /// A file: read for standard input, otherwise appended to and created if need be. It may not be a symbolic link.
    File(PathBuf),
}

/// A resource limit; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rlimit {
    /// Of what.
    pub kind: RlimitKind,
    /// What applies.
    pub soft: Option<u64>,
    /// How far the process may raise it.
    pub hard: Option<u64>,
}

/// What is limited, named as in `setrlimit(2)`.
#[allow(missing_docs, reason = "the names are those of setrlimit(2), which explains each")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RlimitKind {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// A value of a spec that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("launch spec: {field} is {found:?}, expected {expected}")]
pub struct SpecError {
    /// Which field.
    pub field: String,
    /// What it holds.
    pub found: String,
    /// What it should hold.
    pub expected: &'static str,
}

impl LaunchSpec {
    /// A program with its arguments (the zeroth included), nothing else: empty environment, no namespaces, streams of the
    /// launcher.
    pub fn new<S: Into<String>>(
        program: impl Into<String>,
        argv: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            program: program.into(),
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: None,
            user: None,
            namespaces: Namespaces::NONE,
            propagation: Propagation::default(),
            mounts: Vec::new(),
            mount_proc: false,
            hostname: None,
            init: false,
            rlimits: Vec::new(),
            umask: None,
            no_new_privs: false,
            oom_score_adj: None,
            stdin: Stream::Null,
            stdout: Stream::Inherit,
            stderr: Stream::Inherit,
            status_file: None,
            pid_file: None,
        }
    }

    /// `sh -c COMMAND`.
    pub fn shell(command: impl Into<String>) -> Self {
        Self::new("/bin/sh", ["sh".to_owned(), "-c".to_owned(), command.into()])
    }

    /// Checks what can be checked without trying.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn validate(&self) -> Result<(), SpecError> {
        text("program", &self.program)?;
        require(!self.program.is_empty(), "program", &self.program, "a path or a name")?;
        require(!self.argv.is_empty(), "argv", "", "at least the zeroth argument")?;
        for (number, argument) in self.argv.iter().enumerate() {
            text(&format!("argv[{number}]"), argument)?;
        }
        for (number, (name, value)) in self.env.iter().enumerate() {
            let field = format!("env[{number}]");
            text(&field, name)?;
            text(&field, value)?;
            require(!name.is_empty() && !name.contains('='), &field, name, "a name without '='")?;
        }
        for rlimit in &self.rlimits {
            let (soft, hard) = (rlimit.soft.unwrap_or(u64::MAX), rlimit.hard.unwrap_or(u64::MAX));
            require(soft <= hard, "rlimits", &format!("{rlimit:?}"), "soft not above hard")?;
        }
        for mount in &self.mounts {
            let target = mount.target.display().to_string();
            text("mounts target", &target)?;
            require(mount.target.is_absolute(), "mounts target", &target, "an absolute path")?;
        }
        let needs_mount = self.mount_proc || !self.mounts.is_empty();
        require(
            self.namespaces.mount || !needs_mount,
            "mounts",
            "some",
            "none without a mount namespace",
        )?;
        require(
            self.namespaces.uts || self.hostname.is_none(),
            "hostname",
            "set",
            "nothing without a uts namespace",
        )?;
        require(
            self.namespaces.pid || !self.init,
            "init",
            "true",
            "false without a pid namespace",
        )?;
        if let Some(adjust) = self.oom_score_adj {
            require(
                (-1000..=1000).contains(&adjust),
                "oom_score_adj",
                &adjust.to_string(),
                "-1000 to 1000",
            )?;
        }
        if let Some(umask) = self.umask {
            require(umask <= 0o777, "umask", &format!("{umask:o}"), "at most 777 (octal)")?;
        }
        Ok(())
    }
}

fn text(field: &str, value: &str) -> Result<(), SpecError> {
    require(!value.contains('\0'), field, value, "text without NUL characters")
}

fn require(good: bool, field: &str, found: &str, expected: &'static str) -> Result<(), SpecError> {
    if good {
        Ok(())
    } else {
        Err(SpecError { field: field.to_owned(), found: found.to_owned(), expected })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn round_trips_through_json() {
        let mut spec = LaunchSpec::shell("exit 0");
        spec.env.push(("A".into(), "ü\n".into()));
        spec.user = Some(Credentials { uid: 1, gid: 2, groups: vec![3] });
        spec.rlimits.push(Rlimit { kind: RlimitKind::Nofile, soft: Some(10), hard: None });
        spec.namespaces = Namespaces::PID_AND_MOUNT;
        spec.mounts.push(MountSpec::bind_read_only("/a", "/b"));
        spec.stdout = Stream::File("/x".into());
        spec.validate().unwrap();
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<LaunchSpec>(&json).unwrap(), spec);
        assert!(
            serde_json::from_str::<LaunchSpec>(&json.replacen("\"argv\"", "\"args\"", 1)).is_err()
        );
    }

    #[test]
    fn wrong_fields_are_named() {
        let check = |change: &dyn Fn(&mut LaunchSpec)| {
            let mut spec = LaunchSpec::shell("true");
            change(&mut spec);
            spec.validate().unwrap_err().field
        };
        assert_eq!(check(&|spec| spec.program.clear()), "program");
        assert_eq!(check(&|spec| spec.argv.clear()), "argv");
        assert_eq!(check(&|spec| spec.argv.push("a\0".into())), "argv[3]");
        assert_eq!(check(&|spec| spec.env.push(("A=".into(), "1".into()))), "env[0]");
        assert_eq!(check(&|spec| spec.mount_proc = true), "mounts");
        assert_eq!(check(&|spec| spec.init = true), "init");
        assert_eq!(check(&|spec| spec.hostname = Some("x".into())), "hostname");
        assert_eq!(check(&|spec| spec.oom_score_adj = Some(2000)), "oom_score_adj");
        let limit = Rlimit { kind: RlimitKind::Core, soft: None, hard: Some(1) };
        assert_eq!(check(&|spec| spec.rlimits.push(limit)), "rlimits");
    }
}
