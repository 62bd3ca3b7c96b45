//! The child's side: from a forked launcher to the program in its container.
//!
//! The order matters. Streams first, so that whatever fails later is told in the container's own stderr; mounts before the
//! working directory, which may lie in one; all that needs root before the user is switched; signals and descriptors last.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::sched::CloneFlags;
use rustix::process::{Resource, Signal};
use rustix::thread::{Gid, Uid};

use super::{Failure, exec, mounts, say, sys};
use crate::launch::{EXIT_SETUP_FAILED, LaunchSpec, Namespaces, Rlimit, RlimitKind, Stream};
use crate::user::Credentials;

/// Becomes the program, or an init above it that tells `launcher` the program's wait status. Returns with an exit code when
/// that failed or the init is done.
pub(super) fn run(spec: &LaunchSpec, launcher: OwnedFd) -> u8 {
    match prepare(spec) {
        Ok(()) => {}
        Err(failure) => {
            say(&failure);
            return EXIT_SETUP_FAILED;
        }
    }
    if spec.init { init(spec, &launcher) } else { become_program(spec) }
}

/// Everything but the user, the signals and the program.
fn prepare(spec: &LaunchSpec) -> Result<(), Failure> {
    // A session of its own: "kill my process group" inside must not reach the launcher.
    rustix::process::setsid().map_err(|errno| format!("cannot open a session: {errno}"))?;
    streams(spec)?;
    if let Some(value) = spec.oom_score_adj {
        // Before `/proc` is replaced, and in its own words: "self" is right in every procfs.
        std::fs::write("/proc/self/oom_score_adj", value.to_string())
            .map_err(|error| format!("cannot set the oom_score_adj to {value}: {error}"))?;
    }
    namespaces(spec.namespaces)?;
    if spec.namespaces.mount {
        mounts::make_all(spec)?;
    }
    if let Some(name) = &spec.hostname {
        nix::unistd::sethostname(name)
            .map_err(|errno| format!("cannot set the host name to {name:?}: {errno}"))?;
    }
    if let Some(umask) = spec.umask {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
    }
    if let Some(cwd) = &spec.cwd {
        enter(cwd)?;
    }
    spec.rlimits.iter().try_for_each(set_rlimit)
}

/// Switches the user and executes.
fn become_program(spec: &LaunchSpec) -> u8 {
    let switched = || -> Result<(), Failure> {
        if let Some(user) = &spec.user {
            switch_user(user)?;
        }
        if spec.no_new_privs {
            rustix::thread::set_no_new_privs(true)
                .map_err(|errno| format!("cannot set no_new_privs: {errno}"))?;
        }
        die_with_the_parent()?;
        sys::default_signals();
        sys::close_other_descriptors_at_exec()
            .map_err(|error| format!("cannot keep open files from the program: {error}"))
    };
    match switched() {
        Ok(()) => exec::program(spec),
        Err(failure) => {
            say(&failure);
            EXIT_SETUP_FAILED
        }
    }
}

/// Pid 1 for programs that are not made for it: the program is pid 2, orphans are reaped, SIGTERM is passed on.
fn init(spec: &LaunchSpec, launcher: &OwnedFd) -> u8 {
    if let Err(failure) = die_with_the_parent() {
        say(&failure);
        return EXIT_SETUP_FAILED;
    }
    match sys::fork() {
        Ok(sys::Forked::Child) => {
            // Again: the group of pid 1 is not to be killed by "kill my process group".
            let _ = rustix::process::setsid();
            become_program(spec)
        }
        Ok(sys::Forked::Parent(child)) => {
            let status = super::attend::until_the_end(child);
            // Four bytes into an empty pipe that the launcher holds open: cannot fail halfway. When we end, the kernel
            // kills all that is left in here.
            let _ = rustix::io::write(launcher, &status.raw().to_ne_bytes());
            0
        }
        Err(error) => {
            say(&format!("cannot fork: {error}"));
            EXIT_SETUP_FAILED
        }
    }
}

/// The end of the launcher is the end of the container. Set after the user was switched, which clears it.
fn die_with_the_parent() -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| format!("cannot tie the program to its launcher: {errno}"))
}

fn streams(spec: &LaunchSpec) -> Result<(), Failure> {
    // Standard error first: it is where the failure of the other two is told.
    if let Some(file) = open_stream(&spec.stderr, false, spec.user.as_ref())? {
        rustix::stdio::dup2_stderr(&file)
            .map_err(|errno| format!("cannot set standard error: {errno}"))?;
    }
    if let Some(file) = open_stream(&spec.stdout, false, spec.user.as_ref())? {
        rustix::stdio::dup2_stdout(&file)
            .map_err(|errno| format!("cannot set standard output: {errno}"))?;
    }
    // Inherit and Null are both /dev/null by now: the launcher's own input was the agent's pipe.
    if let Some(file) = open_stream(&spec.stdin, true, None)? {
        rustix::stdio::dup2_stdin(&file)
            .map_err(|errno| format!("cannot set standard input: {errno}"))?;
    }
    Ok(())
}

fn open_stream(
    stream: &Stream,
    input: bool,
    owner: Option<&Credentials>,
) -> Result<Option<OwnedFd>, Failure> {
    let path = match stream {
        Stream::Inherit => return Ok(None),
        Stream::Null => Path::new("/dev/null"),
        Stream::File(path) => path,
    };
    let is_file = matches!(stream, Stream::File(_));
    open_stream_file(path, input, is_file.then_some(owner).flatten())
        .map(Some)
        .map_err(|error| format!("cannot open {} for a standard stream: {error}", path.display()))
}

fn open_stream_file(path: &Path, input: bool, owner: Option<&Credentials>) -> io::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    if input {
        options.read(true);
    } else {
        options.append(true).create(true).mode(0o644);
    }
    // A user may own the directory: do not follow a link he left there, do not hang on a FIFO.
    let file = options
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
        .open(path)?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() && !kind.is_char_device() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "neither a regular file nor a device",
        ));
    }
    if let Some(owner) = owner.filter(|_| kind.is_file()) {
        std::os::unix::fs::fchown(&file, Some(owner.uid), Some(owner.gid))?;
    }
    // The program expects ordinary, blocking streams.
    rustix::fs::fcntl_setfl(
        &file,
        if input { rustix::fs::OFlags::empty() } else { rustix::fs::OFlags::APPEND },
    )?;
    Ok(file.into())
}

fn namespaces(wanted: Namespaces) -> Result<(), Failure> {
    let mut flags = CloneFlags::empty();
    // The pid namespace was made by the parent, before the fork.
    flags.set(CloneFlags::CLONE_NEWNS, wanted.mount);
    flags.set(CloneFlags::CLONE_NEWIPC, wanted.ipc);
    flags.set(CloneFlags::CLONE_NEWUTS, wanted.uts);
    flags.set(CloneFlags::CLONE_NEWNET, wanted.network);
    flags.set(CloneFlags::CLONE_NEWCGROUP, wanted.cgroup);
    if flags.is_empty() {
        return Ok(());
    }
    nix::sched::unshare(flags)
        .map_err(|errno| format!("cannot make the namespaces {flags:?}: {errno}"))
}

fn enter(cwd: &Path) -> Result<(), Failure> {
    rustix::process::chdir(cwd)
        .map_err(io::Error::from)
        .and_then(|()| std::env::current_dir())
        // A directory that was reached through somebody's open descriptor has no path in here.
        .and_then(|real| if real.is_absolute() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::NotFound)) })
        .map_err(|error| format!("cannot start in {}: {error}", cwd.display()))
}

fn switch_user(user: &Credentials) -> Result<(), Failure> {
    let failed = |what: &str, errno: nix::Error| format!("cannot become {what}: {errno}");
    // An ordinary user asked to be himself: nothing to do, and setgroups would be refused.
    let us = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    if !rustix::process::geteuid().is_root() && us == (user.uid, user.gid) {
        return Ok(());
    }
    let groups: Vec<_> = user.groups.iter().map(|gid| nix::unistd::Gid::from_raw(*gid)).collect();
    nix::unistd::setgroups(&groups)
        .map_err(|errno| failed(&format!("a member of groups {:?}", user.groups), errno))?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .map_err(|errno| format!("cannot become group {}: {errno}", user.gid))?;
    // This process has one thread, so "thread" is all of it.
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .map_err(|errno| format!("cannot become user {}: {errno}", user.uid))?;
    Ok(())
}

fn set_rlimit(limit: &Rlimit) -> Result<(), Failure> {
    let resource = match limit.kind {
        RlimitKind::As => Resource::As,
        RlimitKind::Core => Resource::Core,
        RlimitKind::Cpu => Resource::Cpu,
        RlimitKind::Data => Resource::Data,
        RlimitKind::Fsize => Resource::Fsize,
        RlimitKind::Locks => Resource::Locks,
        RlimitKind::Memlock => Resource::Memlock,
        RlimitKind::Msgqueue => Resource::Msgqueue,
        RlimitKind::Nice => Resource::Nice,
        RlimitKind::Nofile => Resource::Nofile,
        RlimitKind::Nproc => Resource::Nproc,
        RlimitKind::Rss => Resource::Rss,
        RlimitKind::Rtprio => Resource::Rtprio,
        RlimitKind::Rttime => Resource::Rttime,
        RlimitKind::Sigpending => Resource::Sigpending,
        RlimitKind::Stack => Resource::Stack,
    };
    rustix::process::setrlimit(
        resource,
        rustix::process::Rlimit { current: limit.soft, maximum: limit.hard },
    )
    .map_err(|errno| format!("cannot set the resource limit {limit:?}: {errno}"))
}
