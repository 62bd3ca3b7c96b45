//! What the kernel knows of tasks: processes, their cgroups, their namespaces.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use mezzo_integration_tests::until;

/// Fails loudly unless the tests run as root.
pub(crate) fn needs_root() -> anyhow::Result<()> {
    let uid = fs::read_to_string("/proc/self/status")?;
    let uid = uid.lines().find_map(|line| line.strip_prefix("Uid:")).context("no Uid")?;
    ensure!(
        uid.split_whitespace().next() == Some("0"),
        "this test makes cgroups and namespaces: run it as root"
    );
    Ok(())
}

/// The processes whose command line holds `marker`, but for this one.
pub(crate) fn processes_with(marker: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            (line.contains(marker) && pid != std::process::id()).then_some(pid)
        })
        .collect()
}

/// The processes with exactly this command line.
pub(crate) fn processes_called(words: &[&str]) -> Vec<u32> {
    let line: String = words.iter().flat_map(|word| [word, "\0"]).collect();
    processes_with(&line.replace('\0', " "))
        .into_iter()
        .filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|l| l == line.as_bytes()))
        .collect()
}

/// The process `sleep <seconds>`, once it is there: a task runs a moment before its shell becomes it.
pub(crate) async fn sleeper(seconds: &str) -> anyhow::Result<u32> {
    until(&format!("a process sleeps for {seconds}"), async || {
        Ok(processes_called(&["sleep", seconds]).first().copied())
    })
    .await
}

/// A namespace of a process, such as `pid:[4026531836]`.
pub(crate) fn namespace(pid: u32, kind: &str) -> anyhow::Result<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}"))?;
    Ok(link.to_string_lossy().into_owned())
}

/// The session of a process.
pub(crate) fn session(pid: u32) -> anyhow::Result<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    Ok(fields.split_whitespace().nth(3).context("no session in stat")?.parse()?)
}

/// The cgroup with the limits of `controller` that a process lives under; version 1 or 2.
pub(crate) fn cgroup(pid: u32, controller: &str) -> anyhow::Result<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (parts.next(), parts.next()) else { continue };
        let path = path.trim_start_matches('/');
        if names.split(',').any(|name| name == controller) {
            return Ok(Path::new("/sys/fs/cgroup").join(names).join(path));
        }
        if names.is_empty() && Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            // Version 2: a container's processes are in a leaf of the cgroup that has its limits.
            return Ok(Path::new("/sys/fs/cgroup").join(path.trim_end_matches("/leaf")));
        }
    }
    anyhow::bail!("process {pid} is in no cgroup of {controller}: {groups}")
}

/// The weight for cpu time that a cgroup has, as `cpu.shares` counts it.
pub(crate) fn cpu_shares(cgroup: &Path) -> anyhow::Result<u64> {
    if let Ok(shares) = fs::read_to_string(cgroup.join("cpu.shares")) {
        return Ok(shares.trim().parse()?);
    }
    let weight: u64 = fs::read_to_string(cgroup.join("cpu.weight"))?.trim().parse()?;
    // 100 for a whole processor, not 1024.
    Ok(weight * 1024 / 100)
}

/// The hard limit of memory that a cgroup has, in bytes.
pub(crate) fn memory_limit(cgroup: &Path) -> anyhow::Result<u64> {
    let v1 = fs::read_to_string(cgroup.join("memory.limit_in_bytes"));
    let text = v1.or_else(|_| fs::read_to_string(cgroup.join("memory.max")))?;
    Ok(text.trim().parse()?)
}

/// Ends a process at once.
pub(crate) fn kill(pid: u32) -> anyhow::Result<()> {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).context("no process id")?;
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::KILL)?)
}
