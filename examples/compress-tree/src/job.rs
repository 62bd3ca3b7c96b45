//! The scheduler: tasks for all parts, and their results to the collector.

use std::collections::{BTreeMap, VecDeque};

use indicatif::{ProgressBar, ProgressStyle};
use mezzo_sdk::v1::scheduler::event::Subscribed;
use mezzo_sdk::v1::{FrameworkId, Offer, TaskState, TaskStatus};
use mezzo_sdk::{Handle, Packing, Scheduler, Task, is_terminal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::collect::{self, Finished, Message, Results};
use crate::tree::Input;

/// What each task does, with the files as its arguments.
const SCRIPT: &str = r#"set -e
for file do
  sha256sum < "$file"
  gzip -c < "$file" >> archive.gz
done"#;

/// What each task may use.
const CPUS: f64 = 0.25;
const MEM: f64 = 64.0;
/// How often a part is tried that the cluster (not the task) lost.
const TRIES: u32 = 5;

/// All parts of the job, wherever they are.
pub(crate) struct Job {
    waiting: VecDeque<Part>,
    living: BTreeMap<String, (Part, Option<String>)>,
    framework: Option<FrameworkId>,
    /// To the collector; closed when there is nothing more to collect.
    collector: Option<mpsc::Sender<Message>>,
    progress: ProgressBar,
    wrong: Option<String>,
}

#[derive(Debug, Clone)]
struct Part {
    number: usize,
    tries: u32,
    files: Vec<Input>,
}

impl Part {
    fn task(&self) -> Task {
        let paths = self.files.iter().filter_map(|file| file.path.to_str());
        let words = ["/bin/sh", "-c", SCRIPT, "compress"].into_iter().chain(paths);
        Task::command(words)
            .id(format!("part-{}.{}", self.number, self.tries))
            .name(format!("compress part {}", self.number))
            .cpus(CPUS)
            .mem(MEM)
    }
}

impl Job {
    /// The job, and what will have been collected when it is done.
    pub(crate) fn new(parts: Vec<Vec<Input>>) -> (Self, JoinHandle<Results>) {
        // Room for every result, so that the scheduler never waits for the collector.
        let (sender, receiver) = mpsc::channel(parts.len() + 1);
        #[allow(clippy::disallowed_methods, reason = "an outsider has no runtime of ours")]
        let collected = tokio::spawn(collect::collect(receiver));
        let progress = ProgressBar::new(parts.len() as u64);
        if let Ok(style) =
            ProgressStyle::with_template("[{elapsed_precise}] {wide_bar} {pos}/{len} tasks {msg}")
        {
            progress.set_style(style);
        }
        let parts = parts.into_iter().enumerate();
        let job = Self {
            waiting: parts.map(|(number, files)| Part { number, tries: 0, files }).collect(),
            living: BTreeMap::new(),
            framework: None,
            collector: Some(sender),
            progress,
            wrong: None,
        };
        (job, collected)
    }

    /// Why the job could not be done.
    pub(crate) fn wrong(&self) -> Option<&str> {
        self.wrong.as_deref()
    }

    fn fail(&mut self, handle: &Handle, why: String) {
        self.wrong.get_or_insert(why);
        self.collector = None;
        handle.teardown();
    }

    /// A part is done: its results are fetched while others run.
    fn collect(&mut self, task_id: String, part: Part, agent: Option<String>) {
        let (Some(sender), Some(framework), Some(agent)) =
            (&self.collector, &self.framework, agent)
        else {
            return;
        };
        let finished = Finished { agent, framework: framework.clone(), task_id, files: part.files };
        // There is room for every part; should one be missing, its result is missed at the end.
        let _ = sender.try_send(Message::Finished(Box::new(finished)));
    }
}

impl Scheduler for Job {
    fn subscribed(&mut self, _handle: &Handle, subscribed: Subscribed) {
        self.framework = Some(subscribed.framework_id);
    }

    fn offers(&mut self, handle: &Handle, offers: Vec<Offer>) {
        let refuse = if self.waiting.is_empty() { 60.0 } else { 0.1 };
        let mut packing = Packing::new(offers).refuse_seconds(refuse);
        while let Some(part) = self.waiting.front() {
            let Some(placed) = packing.spread(&part.task()) else { break };
            if let Some(part) = self.waiting.pop_front() {
                self.living.insert(placed.task_id.value, (part, placed.agent_address));
            }
        }
        packing.launch(handle);
    }

    fn status_update(&mut self, handle: &Handle, status: TaskStatus) {
        let state = status.state();
        if !is_terminal(state) {
            return;
        }
        // Not there: the same update again.
        let id = status.task_id.value.clone();
        let Some((mut part, agent)) = self.living.remove(&id) else { return };
        match state {
            TaskState::TaskFinished => {
                self.progress.inc(1);
                self.collect(id, part, agent);
            }
            TaskState::TaskDropped | TaskState::TaskLost if part.tries + 1 < TRIES => {
                part.tries += 1;
                self.waiting.push_back(part);
            }
            _ => {
                let why = format!("{id}: {}: {}", state.as_str_name(), status.message());
                return self.fail(handle, why);
            }
        }
        if self.living.is_empty() && self.waiting.is_empty() {
            self.progress.finish_and_clear();
            if let Some(sender) = self.collector.take() {
                // There is room for this too.
                let _ = sender.try_send(Message::Done(handle.clone()));
            }
        }
    }
}
