//! `perf stat`, the program: its arguments and what it prints.

use std::collections::HashMap;
use std::io::Read as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use mezzo_proto::v1::PerfStatistics;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};

/// Between the columns. A cgroup's name can hold a comma, an event's cannot hold this.
const SEPARATOR: &str = ";";

/// What one cgroup counted.
pub(super) type Samples = HashMap<String, PerfStatistics>;

/// True for the events that there is a field for.
pub(super) fn is_known(event: &str) -> bool {
    set(&mut PerfStatistics::default(), event, 0.0)
}

/// The program's version, `perf version 6.1.187`; an error says why it cannot be run.
pub(super) fn version() -> Result<String, String> {
    let output = Command::new("perf")
        .arg("--version")
        .output()
        .map_err(|error| format!("the program `perf` cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("`perf --version` failed: {}", said(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether this kernel and this program know the events.
pub(super) fn check(events: &[String]) -> Result<(), String> {
    let output = Command::new("perf")
        .args(["stat", "--log-fd", "2"])
        .args(events.iter().flat_map(|event| ["--event", event]))
        .args(["--", "true"])
        .output()
        .map_err(|error| format!("the program `perf` cannot be run: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(said(&output.stderr)) }
}

/// Starts to count the events of all cgroups (paths below their hierarchy) on all CPUs for some time.
pub(super) fn start(
    events: &[String],
    cgroups: &[String],
    duration: Duration,
) -> std::io::Result<Child> {
    use std::os::unix::process::CommandExt as _;
    let pairs = events.iter().flat_map(|event| cgroups.iter().map(move |cgroup| (event, cgroup)));
    Command::new("perf")
        .args(["stat", "--all-cpus", "--field-separator", SEPARATOR, "--log-fd", "1"])
        .args(pairs.flat_map(|(event, cgroup)| ["--event", event, "--cgroup", cgroup]))
        .args(["--", "sleep", &duration.as_secs_f64().to_string()])
        // Numbers with a point in them.
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // With the `sleep` that it starts: both go when the agent stops.
        .process_group(0)
        .spawn()
}

/// Waits for a started program, which says what it has to say at its end. One that does not end by itself within `patience`
/// is killed. `ended` is called before its pid may become another's.
pub(super) fn finish(
    child: &mut Child,
    patience: Duration,
    ended: impl FnOnce(),
) -> Result<Samples, String> {
    let said_something = child.stdout.as_ref().is_some_and(|out| wait_for(out, patience));
    if !said_something && let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    let (mut text, mut complaint) = (String::new(), Vec::new());
    // Few lines: the second pipe does not fill up while the first is read.
    let read = child.stdout.take().map_or(Ok(0), |mut out| out.read_to_string(&mut text));
    if let Some(mut err) = child.stderr.take() {
        let _ = err.read_to_end(&mut complaint);
    }
    // Both pipes are closed: it has ended or is about to.
    ended();
    let status = child.wait().map_err(|error| format!("cannot wait for `perf stat`: {error}"))?;
    if !said_something {
        return Err(format!("`perf stat` did not end within {patience:?}"));
    }
    read.map_err(|error| format!("cannot read from `perf stat`: {error}"))?;
    if !status.success() {
        return Err(format!("`perf stat` failed ({status}): {}", said(&complaint)));
    }
    parse(&text)
}

/// True when there is something to read, or the end of it, in time.
fn wait_for(out: &ChildStdout, patience: Duration) -> bool {
    let Ok(patience) = Timespec::try_from(patience) else { return true };
    let mut wanted = [PollFd::new(out, PollFlags::IN)];
    loop {
        match poll(&mut wanted, Some(&patience)) {
            Ok(ready) => return ready > 0,
            // Nothing interrupts a thread of the agent often.
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

/// The last lines of what a program complained about.
fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join(" ")
}

/// Reads the table. Its columns have become more over the years:
///
/// * `value event cgroup` (since Linux 2.6.39)
/// * `value unit event cgroup` (3.14)
/// * `value unit event cgroup running ratio` (4.1), and behind that a derived number with its unit (4.6), which may be
///   empty.
pub(super) fn parse(text: &str) -> Result<Samples, String> {
    let mut samples = Samples::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let columns: Vec<&str> = line.split(SEPARATOR).collect();
        let (value, event, cgroup) = match columns.as_slice() {
            [value, event, cgroup] | [value, _, event, cgroup, ..] => (*value, *event, *cgroup),
            _ => {
                return Err(format!("`perf stat` says `{line}`, expected value, event and cgroup"));
            }
        };
        let statistics = samples.entry(cgroup.to_owned()).or_default();
        let number = match value {
            // This machine cannot count it (a virtual one often cannot).
            "<not supported>" => continue,
            "<not counted>" => 0.0,
            number => number
                .parse()
                .map_err(|_| format!("`perf stat` says `{line}`, expected a number first"))?,
        };
        if !set(statistics, event, number) {
            return Err(format!("`perf stat` says `{line}`, whose event is not known"));
        }
    }
    Ok(samples)
}

/// One line per field: the event's name is the field's, with dashes and in any case.
macro_rules! events {
    (numbers: $($number:ident)+; times: $($time:ident)+;) => {
        /// Sets an event's field; false when there is none.
        fn set(statistics: &mut PerfStatistics, event: &str, value: f64) -> bool {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a counter; a float-to-int cast saturates"
            )]
            let number = value as u64;
            match event.to_ascii_lowercase().replace('-', "_").as_str() {
                $(stringify!($number) => statistics.$number = Some(number),)+
                $(stringify!($time) => statistics.$time = Some(value),)+
                _ => return false,
            }
            true
        }
    };
}

events! {
    numbers:
        cycles stalled_cycles_frontend stalled_cycles_backend instructions cache_references cache_misses branches
        branch_misses bus_cycles ref_cycles page_faults minor_faults major_faults context_switches cpu_migrations
        alignment_faults emulation_faults l1_dcache_loads l1_dcache_load_misses l1_dcache_stores
        l1_dcache_store_misses l1_dcache_prefetches l1_dcache_prefetch_misses l1_icache_loads l1_icache_load_misses
        l1_icache_prefetches l1_icache_prefetch_misses llc_loads llc_load_misses llc_stores llc_store_misses
        llc_prefetches llc_prefetch_misses dtlb_loads dtlb_load_misses dtlb_stores dtlb_store_misses dtlb_prefetches
        dtlb_prefetch_misses itlb_loads itlb_load_misses branch_loads branch_load_misses;
    times: cpu_clock task_clock;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn tables_of_all_versions_are_read() {
        for text in [
            "1024;cycles;mezzo/a\n0.5;task-clock;mezzo/a\n",
            "1024;;cycles;mezzo/a\n0.5;msec;task-clock;mezzo/a\n",
            "1024;;cycles;mezzo/a;2000;100.00\n0.5;msec;task-clock;mezzo/a;2000;100.00\n",
            "# started on Sat Nov 21\n\n1024;;cycles;mezzo/a;2000;100.00;0.9;GHz\n0.5;msec;task-clock;mezzo/a;2000;100.00;;\n",
        ] {
            let samples = parse(text).unwrap();
            let sample = &samples["mezzo/a"];
            assert_eq!((sample.cycles, sample.task_clock), (Some(1024), Some(0.5)), "{text}");
        }
    }

    #[test]
    fn cgroups_are_kept_apart_and_what_was_not_counted_is_nothing() {
        let text = "<not counted>;;cycles;a;0;100.00;;\n<not supported>;;instructions;a;0;100.00;;\n7;;L1-dcache-loads;b;1;50.00;;\n";
        let samples = parse(text).unwrap();
        assert_eq!((samples["a"].cycles, samples["a"].instructions), (Some(0), None));
        assert_eq!((samples["b"].cycles, samples["b"].l1_dcache_loads), (None, Some(7)));
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn a_line_that_is_not_understood_is_told() {
        for wrong in ["1;cycles", "many;;cycles;a", "1;;coffees;a", "1,,cycles,a"] {
            assert!(parse(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        use std::os::unix::process::CommandExt as _;
        let mut child = Command::new("sleep")
            .arg("600")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let error = finish(&mut child, Duration::from_millis(10), || ()).unwrap_err();
        assert_eq!(error, "`perf stat` did not end within 10ms");
    }

    #[test]
    fn events_are_known_by_the_names_that_perf_lists() {
        for event in ["cycles", "LLC-load-misses", "dTLB-loads", "task-clock", "branch_loads"] {
            assert!(is_known(event), "{event}");
        }
        assert!(!is_known("cycles:u") && !is_known("cycles,instructions") && !is_known(""));
    }
}
