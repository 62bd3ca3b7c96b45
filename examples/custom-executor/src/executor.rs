//! The executor: one process for all tasks, each of which counts the primes of a range.
//!
//! A task is not a process here but a thread of this one. Its range comes in `TaskInfo.data`, its
//! result goes back in `TaskStatus.data`; what the scheduler says in between is answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mezzo_sdk::Executor;
use mezzo_sdk::executor::{self, Config, Handle, status};
use mezzo_sdk::v1::{KillPolicy, TaskId, TaskInfo, TaskState};

#[derive(Default)]
struct Primes {
    /// How to stop the thread of a task.
    running: BTreeMap<String, Arc<AtomicBool>>,
    tasks: u32,
}

impl Executor for Primes {
    fn launch(&mut self, handle: &Handle, task: TaskInfo) {
        self.tasks += 1;
        let Some((from, to)) = task.data.as_ref().and_then(|data| range(data)) else {
            let mut refusal = status(&task.task_id, TaskState::TaskError);
            refusal.message = Some("data: expected two numbers, FROM TO".to_owned());
            handle.update(refusal);
            return;
        };
        handle.update(status(&task.task_id, TaskState::TaskRunning));
        let stop = Arc::new(AtomicBool::new(false));
        self.running.insert(task.task_id.value.clone(), Arc::clone(&stop));
        let handle = handle.clone();
        std::thread::spawn(move || {
            let end = match count(from, to, &stop) {
                Some(count) => {
                    let mut end = status(&task.task_id, TaskState::TaskFinished);
                    // The process is told too, to show that it is the same one for all.
                    end.data = Some(format!("{count} {}", std::process::id()).into());
                    end
                }
                None => status(&task.task_id, TaskState::TaskKilled),
            };
            handle.update(end);
        });
    }

    fn kill(&mut self, handle: &Handle, task_id: TaskId, _policy: Option<KillPolicy>) {
        match self.running.get(&task_id.value) {
            Some(stop) => stop.store(true, Ordering::Relaxed),
            None => drop(handle.update(status(&task_id, TaskState::TaskKilled))),
        }
    }

    fn message(&mut self, handle: &Handle, _data: mezzo_sdk::Bytes) {
        let answer = format!("{} tasks so far", self.tasks);
        if handle.message(answer).is_err() {
            tell("too many messages wait: one answer less");
        }
    }

    fn shutdown(&mut self, handle: &Handle) {
        for stop in self.running.values() {
            stop.store(true, Ordering::Relaxed);
        }
        handle.stop();
    }
}

fn range(data: &[u8]) -> Option<(u64, u64)> {
    let (from, to) = std::str::from_utf8(data).ok()?.split_once(' ')?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

/// How many primes there are in `from..to`; none if it was stopped.
fn count(from: u64, to: u64, stop: &AtomicBool) -> Option<usize> {
    let mut primes = 0;
    for number in from..to {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        primes += usize::from(is_prime(number));
    }
    Some(primes)
}

fn is_prime(number: u64) -> bool {
    number >= 2 && (2..).take_while(|d| d * d <= number).all(|d| !number.is_multiple_of(d))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    executor::run(Config::from_env()?, Primes::default()).await?;
    Ok(())
}

/// What it says stands in the sandbox's stdout.
#[allow(clippy::print_stdout, reason = "the sandbox's stdout is this program's log")]
fn tell(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_are_counted_until_stopped() {
        let stop = AtomicBool::new(false);
        assert_eq!(count(0, 100, &stop), Some(25));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(count(0, 100, &stop), None);
    }

    #[test]
    fn a_range_is_two_numbers() {
        assert_eq!(range(b"10 20"), Some((10, 20)));
        for wrong in [&b"10"[..], b"x 1", b"1 -1", b"\xff 1"] {
            assert_eq!(range(wrong), None);
        }
    }
}
