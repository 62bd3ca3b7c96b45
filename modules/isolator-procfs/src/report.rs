//! What is told of a container that is over its memory, in the words that YARN's users and their tools know.

use std::fmt::Write as _;

use crate::monitor::{Kind, Limits, Memory};
use crate::process::Process;

/// Processes in a dump; a tree of more is shortened. With [`COMMAND`] this bounds the message.
const PROCESSES: usize = 256;
/// Characters of a command line.
const COMMAND: usize = 1024;
const HEADER: &str = "\t|- PID PPID PGRPID SESSID CMD_NAME USER_MODE_TIME(MILLIS) SYSTEM_TIME(MILLIS) \
                      VMEM_USAGE(BYTES) RSSMEM_USAGE(PAGES) FULL_CMD_LINE\n";

/// Who is over what.
pub(crate) struct Breach<'a> {
    pub(crate) container: &'a str,
    pub(crate) root: i32,
    pub(crate) kind: Kind,
    pub(crate) excess: u64,
    pub(crate) used: Memory,
    pub(crate) limits: Limits,
}

/// The message of the limitation: one sentence per fact, then all processes.
pub(crate) fn message<'a>(
    breach: &Breach<'_>,
    processes: impl Iterator<Item = &'a Process>,
    command_line: impl Fn(i32) -> Option<String>,
) -> String {
    let Breach { container, root, kind, excess, used, limits } = breach;
    let kind = match kind {
        Kind::Virtual => "VIRTUAL",
        Kind::Physical => "PHYSICAL",
    };
    let mut text = format!(
        "Container [pid={root},containerID={container}] is running {excess}B beyond the '{kind}' memory limit. Current \
         usage: {}. Killing container.\nDump of the process-tree for {container} :\n",
        usage(*used, *limits),
    );
    text.push_str(HEADER);
    let mut processes = processes.peekable();
    for process in processes.by_ref().take(PROCESSES) {
        let line = command_line(process.pid);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "\t|- {} {} {} {} ({}) {} {} {} {} {}",
            process.pid,
            process.ppid,
            process.pgrp,
            process.session,
            one_line(&process.name),
            // In clock ticks, whatever the header says: this is how everybody knows it.
            process.user_ticks,
            process.system_ticks,
            process.virtual_bytes,
            process.resident_pages,
            line.map(|line| one_line(&line))
                .filter(|line| !line.is_empty())
                .unwrap_or("N/A".into()),
        );
    }
    let left = processes.count();
    if left > 0 {
        let _ = writeln!(text, "\t|- and {left} more");
    }
    text
}

/// What is used of what.
pub(crate) fn usage(used: Memory, limits: Limits) -> String {
    let limit = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), size);
    format!(
        "{} of {} physical memory used; {} of {} virtual memory used",
        size(used.physical_bytes),
        limit(limits.physical_bytes),
        size(used.virtual_bytes),
        limit(limits.virtual_bytes),
    )
}

/// The first line, without what could be taken for another one, and not too long. A process chooses these texts.
fn one_line(text: &str) -> String {
    let first = text.split(['\n', '\r']).next().unwrap_or_default();
    first.chars().take(COMMAND).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A size with a binary prefix: `512B`, `1 GB`, `1.2 GB`. Whole numbers have no decimal, others one.
pub(crate) fn size(bytes: u64) -> String {
    const PREFIXES: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut unit = 1024_u64;
    let mut prefixes = PREFIXES.into_iter().peekable();
    while let Some(prefix) = prefixes.next() {
        let next = unit.checked_mul(1024);
        if next.is_none_or(|next| bytes < next) {
            if bytes.is_multiple_of(unit) {
                return format!("{} {prefix}B", bytes / unit);
            }
            let number = decimal(bytes, unit);
            return match (number.as_str(), next, prefixes.peek()) {
                // Rounded up to one of the next unit.
                ("1024.0", Some(next), Some(prefix)) => {
                    format!("{} {prefix}B", decimal(bytes, next))
                }
                _ => format!("{number} {prefix}B"),
            };
        }
        unit = next.unwrap_or(unit);
    }
    format!("{bytes}B")
}

fn decimal(bytes: u64, unit: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let number = bytes as f64 / unit as f64;
    format!("{number:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_binary_prefix_and_at_most_one_decimal() {
        let text = |bytes: u64| size(bytes);
        assert_eq!(text(0), "0B");
        assert_eq!(text(1023), "1023B");
        assert_eq!(text(1024), "1 KB");
        assert_eq!(text(1536), "1.5 KB");
        assert_eq!(text((1 << 20) - 1), "1.0 MB");
        assert_eq!(text(1_288_490_189), "1.2 GB");
        assert_eq!(text(2 << 30), "2 GB");
        assert_eq!(text(700_000), "683.6 KB");
        assert_eq!(text(u64::MAX), "16.0 EB");
    }

    fn process(pid: i32, name: &str) -> Process {
        Process {
            pid,
            start_time: 1,
            ppid: 1,
            pgrp: 100,
            session: 100,
            name: name.into(),
            user_ticks: 1000,
            system_ticks: 200,
            virtual_bytes: 100_000,
            physical_bytes: 409_600,
            resident_pages: 100,
        }
    }

    fn breach() -> Breach<'static> {
        Breach {
            container: "a.b",
            root: 100,
            kind: Kind::Physical,
            excess: 12,
            used: Memory { virtual_bytes: 5 << 20, physical_bytes: (3 << 19) + 12 },
            limits: Limits { physical_bytes: Some(3 << 19), virtual_bytes: None },
        }
    }

    #[test]
    fn the_message_says_who_what_how_much_and_shows_the_tree() {
        let processes =
            [process(100, "proc1"), process(200, "odd) (name\nx"), process(300, "gone")];
        let command_line = |pid: i32| match pid {
            100 => Some("proc1 arg1 arg2".to_owned()),
            200 => Some("sh -c \u{1b}[31m\n\t|- 1 1 1 1 (forged)".to_owned()),
            _ => Some(String::new()),
        };
        assert_eq!(
            message(&breach(), processes.iter(), command_line),
            "Container [pid=100,containerID=a.b] is running 12B beyond the 'PHYSICAL' memory limit. Current usage: \
             1.5 MB of 1.5 MB physical memory used; 5 MB of unlimited virtual memory used. Killing container.\n\
             Dump of the process-tree for a.b :\n\
             \t|- PID PPID PGRPID SESSID CMD_NAME USER_MODE_TIME(MILLIS) SYSTEM_TIME(MILLIS) VMEM_USAGE(BYTES) \
             RSSMEM_USAGE(PAGES) FULL_CMD_LINE\n\
             \t|- 100 1 100 100 (proc1) 1000 200 100000 100 proc1 arg1 arg2\n\
             \t|- 200 1 100 100 (odd) (name) 1000 200 100000 100 sh -c ?[31m\n\
             \t|- 300 1 100 100 (gone) 1000 200 100000 100 N/A\n"
        );
    }

    #[test]
    fn a_fork_bomb_does_not_make_a_message_that_is_too_long() {
        let processes: Vec<Process> = (2..10_002).map(|pid| process(pid, "bomb")).collect();
        let text = message(&breach(), processes.iter(), |_| Some("x".repeat(100_000)));
        assert!(text.len() < 512 * 1024, "{}", text.len());
        assert!(text.ends_with("\t|- and 9744 more\n"));
    }
}
