//! The books of `mezzo run`: what waits, what runs, what has ended.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use mezzo_proto::v1::{self, TaskState, TaskStatus, task_status::Reason};
use mezzo_sdk::scheduler::Handle;
use mezzo_sdk::{Packing, Task, is_terminal};

use super::exit;
use super::spec::Spec;

/// How often a task is tried that is refused or lost before it began.
const TRIES: u32 = 5;

/// All tasks of a run.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    jobs: Vec<Job>,
    waiting: VecDeque<usize>,
    /// Which job a living task is.
    living: BTreeMap<String, usize>,
    running: usize,
    ended: usize,
    bad: usize,
}

#[derive(Debug)]
struct Job {
    spec: Spec,
    number: usize,
    tries: u32,
    running: bool,
    launched: Option<Instant>,
    agent_address: Option<String>,
}

/// What an update means for the run.
#[derive(Debug, PartialEq)]
pub(crate) enum News {
    /// Nothing for people.
    Nothing,
    /// The task runs; its output can be read there.
    Runs { agent_address: Option<String> },
    /// The task has ended for good.
    Ended(Ended),
    /// The task could not be started and waits for another try.
    Again { why: String },
}

/// How a task ended.
#[derive(Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) task_id: String,
    pub(crate) name: String,
    pub(crate) state: TaskState,
    pub(crate) message: String,
    pub(crate) exit_code: u8,
    pub(crate) seconds: f64,
    pub(crate) agent_address: Option<String>,
}

impl Jobs {
    pub(crate) fn new(specs: &[Spec]) -> Self {
        let mut jobs = Self::default();
        for spec in specs {
            for _ in 0..spec.instances() {
                let number = jobs.jobs.len() + 1;
                jobs.waiting.push_back(jobs.jobs.len());
                jobs.jobs.push(Job {
                    spec: spec.clone(),
                    number,
                    tries: 0,
                    running: false,
                    launched: None,
                    agent_address: None,
                });
            }
        }
        jobs
    }

    pub(crate) fn total(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn running(&self) -> usize {
        self.running
    }

    pub(crate) fn ended(&self) -> usize {
        self.ended
    }

    pub(crate) fn bad(&self) -> usize {
        self.bad
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn done(&self) -> bool {
        self.ended == self.jobs.len()
    }

    /// Fills offers with what waits. One that does not fit does not hold up smaller ones.
    pub(crate) fn offers(&mut self, handle: &Handle, offers: Vec<v1::Offer>) {
        // Another offer of the same agent soon: there is more to run. None for long: nothing is.
        let refuse = if self.waiting.is_empty() { 300.0 } else { 0.5 };
        let mut packing = Packing::new(offers).refuse_seconds(refuse);
        let mut misfits = 0;
        self.waiting.retain(|index| {
            // After some misfits in a row the offers are taken for full.
            if misfits >= 16 {
                return true;
            }
            let Some(job) = self.jobs.get_mut(*index) else { return false };
            let Some(placed) = packing.spread(&job.task()) else {
                misfits += 1;
                return true;
            };
            misfits = 0;
            job.launched = Some(Instant::now());
            job.agent_address = placed.agent_address;
            self.living.insert(placed.task_id.value, *index);
            false
        });
        packing.launch(handle);
    }

    /// Takes in a status and tells what is new.
    pub(crate) fn update(&mut self, status: &TaskStatus) -> News {
        let Some(index) = self.living.get(&status.task_id.value).copied() else {
            // The same status again, or one of an earlier try.
            return News::Nothing;
        };
        let Some(job) = self.jobs.get_mut(index) else { return News::Nothing };
        let state = status.state();
        if state == TaskState::TaskRunning && !job.running {
            job.running = true;
            self.running += 1;
            return News::Runs { agent_address: job.agent_address.clone() };
        }
        if !is_terminal(state) {
            return News::Nothing;
        }
        self.living.remove(&status.task_id.value);
        self.running -= usize::from(job.running);
        let never_ran = !job.running && may_be_tried_again(status);
        job.running = false;
        if never_ran && job.tries + 1 < TRIES {
            job.tries += 1;
            self.waiting.push_back(index);
            return News::Again { why: status.message().to_owned() };
        }
        self.ended += 1;
        self.bad += usize::from(state != TaskState::TaskFinished);
        News::Ended(Ended {
            task_id: status.task_id.value.clone(),
            name: job.spec.name().to_owned(),
            state,
            message: status.message().to_owned(),
            exit_code: exit::code(status),
            seconds: job.launched.map_or(0.0, |launched| launched.elapsed().as_secs_f64()),
            agent_address: job.agent_address.clone(),
        })
    }
}

impl Job {
    /// Each try is a task of its own, since an id can live only once.
    fn task(&self) -> Task {
        let id = match self.tries {
            0 => format!("{}-{}", safe(self.spec.name()), self.number),
            tries => format!("{}-{}.{}", safe(self.spec.name()), self.number, tries + 1),
        };
        self.spec.task(id)
    }
}

/// What may stand in a task's id.
fn safe(name: &str) -> String {
    let allowed = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '-' };
    name.chars().map(allowed).take(60).collect()
}

/// Whether the cluster, not the task, is to blame.
fn may_be_tried_again(status: &TaskStatus) -> bool {
    matches!(status.state(), TaskState::TaskDropped | TaskState::TaskLost)
        || (status.state() == TaskState::TaskError && status.reason() == Reason::InvalidOffers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_task_is_tried_again_a_few_times() {
        let mut jobs = one();
        for attempt in 1..=TRIES {
            let id = place(&mut jobs);
            let expected =
                if attempt == 1 { "sleep-1".to_owned() } else { format!("sleep-1.{attempt}") };
            assert_eq!(id, expected);
            let news = jobs.update(&status(&id, TaskState::TaskDropped));
            assert_eq!(matches!(news, News::Again { .. }), attempt < TRIES, "try {attempt}");
        }
        assert!(jobs.done());
        assert_eq!(jobs.bad(), 1);
    }

    #[test]
    fn the_same_update_twice_counts_once() {
        let mut jobs = one();
        let id = place(&mut jobs);
        let running = status(&id, TaskState::TaskRunning);
        assert!(matches!(jobs.update(&running), News::Runs { .. }));
        assert_eq!(jobs.update(&running), News::Nothing);
        assert_eq!(jobs.running(), 1);
        let finished = status(&id, TaskState::TaskFinished);
        assert!(matches!(jobs.update(&finished), News::Ended(_)));
        assert_eq!(jobs.update(&finished), News::Nothing);
        assert_eq!((jobs.running(), jobs.ended(), jobs.bad()), (0, 1, 0));
    }

    fn one() -> Jobs {
        let arguments = ["mezzo", "run", "--", "sleep 1"];
        let parsed =
            mezzo_runtime::config::try_parse::<crate::args::Arguments, _>(arguments, |_| None);
        let crate::args::Command::Run(options) = parsed.unwrap().config.command else { panic!() };
        Jobs::new(&super::super::spec::read(&options).unwrap())
    }

    fn place(jobs: &mut Jobs) -> String {
        let index = jobs.waiting.pop_front().unwrap();
        let id = jobs.jobs.get(index).unwrap().task().task_id().value.clone();
        jobs.living.insert(id.clone(), index);
        id
    }

    fn status(id: &str, state: TaskState) -> TaskStatus {
        TaskStatus {
            task_id: v1::TaskId { value: id.to_owned() },
            state: state.into(),
            ..Default::default()
        }
    }
}
