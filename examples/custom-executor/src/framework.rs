//! A framework with an executor of its own: five tasks in one process, which talk back.
//!
//! `custom-executor [MASTER]` counts the primes below 100,000, in five tasks that all run in one
//! `prime-executor` (the other program of this crate). Results come in the data of the last status;
//! messages go both ways meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use mezzo_sdk::v1::{self, CommandInfo, ExecutorInfo, Offer, TaskState, TaskStatus};
use mezzo_sdk::{Framework, Handle, Packing, Scheduler, SchedulerDriver, Task, is_terminal};

const TASKS: u64 = 5;
const LIMIT: u64 = 100_000;

struct Primes {
    executor: ExecutorInfo,
    waiting: Vec<Task>,
    /// The one agent that has the executor, once it is chosen.
    agent: Option<v1::AgentId>,
    /// Primes by task.
    results: BTreeMap<String, usize>,
    processes: BTreeSet<String>,
    answers: usize,
    wrong: Option<String>,
}

impl Primes {
    fn new(program: String) -> Self {
        let executor = ExecutorInfo {
            executor_id: v1::ExecutorId { value: "primes".to_owned() },
            name: Some("counts primes".to_owned()),
            command: Some(CommandInfo {
                shell: Some(false),
                arguments: vec![program.clone()],
                value: Some(program),
                ..Default::default()
            }),
            resources: vec![scalar("cpus", 0.1), scalar("mem", 64.0)],
            ..Default::default()
        };
        let size = LIMIT / TASKS;
        let waiting = (0..TASKS).map(|index| {
            Task::on_executor(executor.clone())
                .id(format!("primes-{index}"))
                .name("primes")
                .cpus(0.1)
                .mem(16.0)
                .data(format!("{} {}", index * size, (index + 1) * size))
        });
        Self {
            waiting: waiting.collect(),
            executor,
            agent: None,
            results: BTreeMap::new(),
            processes: BTreeSet::new(),
            answers: 0,
            wrong: None,
        }
    }

    fn ask(&self, handle: &Handle) {
        if let Some(agent) = &self.agent {
            handle.message(agent.clone(), self.executor.executor_id.clone(), "how many tasks?");
        }
    }

    /// A result and at least one answer: messages may get lost, so there may be fewer than tasks.
    fn end_if_done(&self, handle: &Handle) {
        if self.results.len() as u64 == TASKS && self.answers > 0 {
            handle.teardown();
        }
    }
}

impl Scheduler for Primes {
    fn offers(&mut self, handle: &Handle, offers: Vec<Offer>) {
        let mut packing = Packing::new(offers);
        let agent = &mut self.agent;
        self.waiting.retain(|task| {
            // All on one agent: where the first one goes, the executor is.
            let placed = packing.place_where(task, |a| agent.as_ref().is_none_or(|one| one == a));
            if let Some(placed) = &placed {
                *agent = Some(placed.agent_id.clone());
            }
            placed.is_none()
        });
        packing.launch(handle);
    }

    fn status_update(&mut self, handle: &Handle, status: TaskStatus) {
        // Asked again with every update, until there is an answer.
        self.ask(handle);
        if status.state() == TaskState::TaskFinished {
            let text = String::from_utf8_lossy(status.data()).into_owned();
            if let Some((count, process)) = text.split_once(' ') {
                self.processes.insert(process.to_owned());
                self.results.insert(status.task_id.value, count.parse().unwrap_or(0));
            }
            self.end_if_done(handle);
        } else if is_terminal(status.state()) {
            let state = status.state().as_str_name();
            self.wrong = Some(format!("{}: {state}: {}", status.task_id.value, status.message()));
            handle.teardown();
        }
    }

    fn message(
        &mut self,
        handle: &Handle,
        _agent: v1::AgentId,
        _executor: v1::ExecutorId,
        _data: mezzo_sdk::Bytes,
    ) {
        self.answers += 1;
        self.end_if_done(handle);
    }
}

fn scalar(name: &str, value: f64) -> v1::Resource {
    v1::Resource {
        name: name.to_owned(),
        r#type: v1::value::Type::Scalar.into(),
        scalar: Some(v1::value::Scalar { value }),
        ..Default::default()
    }
}

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::print_stdout, reason = "this program is here to tell")]
async fn main() -> anyhow::Result<()> {
    let master = std::env::args()
        .nth(1)
        .or_else(|| std::env::var("MEZZO_MASTER").ok())
        .unwrap_or_else(|| "127.0.0.1:5050".to_owned());
    // On one machine the agent finds the executor beside us; on many it would come by URI.
    let own = std::env::current_exe()?;
    let program = own.parent().context("this program has no directory")?.join("prime-executor");
    ensure!(program.is_file(), "{} is not there: build it first", program.display());
    let primes = Primes::new(program.display().to_string());
    let primes = SchedulerDriver::new(master, Framework::new("primes")).run(primes).await?;
    ensure!(primes.wrong.is_none(), "{}", primes.wrong.unwrap_or_default());
    let (tasks, processes) = (primes.results.len(), primes.processes.len());
    let count: usize = primes.results.values().sum();
    println!("custom-executor: {tasks} tasks in {processes} process, {count} primes");
    Ok(())
}
