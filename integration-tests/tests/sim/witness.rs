//! The witness sees everything that everybody does and objects to what must never happen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use mezzo_agent_core::Checkpoint;
use mezzo_master_core::Agent;
use mezzo_model::{AgentId, ContainerId, TaskState};
use mezzo_proto::state::v1::run_record::Record;
use mezzo_proto::v1;
use mezzo_proto::v1::executor;
use mezzo_proto::v1::link::{StatusUpdate, from_master};
use mezzo_proto::v1::task_status::Source;

use crate::allocator::{Amounts, amounts};
use crate::disk::Disk;
use crate::world::World;

/// What the witness knows.
#[derive(Default)]
pub struct Witness {
    /// By task id; no two tasks of a world have the same.
    pub tasks: BTreeMap<String, Known>,
    /// The call that used each offer.
    used: BTreeMap<String, usize>,
    accepts: usize,
    offers: BTreeSet<String>,
    /// Updates whose acknowledgement has reached the agent.
    acknowledged: BTreeSet<Bytes>,
    gone_for_good: BTreeSet<String>,
    /// Agents that have left the cluster at some time, with what they had not told.
    have_left: BTreeSet<String>,
    /// A framework said good-bye: what it ran is free by the books before it has ended.
    pub somebody_left: bool,
    /// Agents as they were when their books were last added up.
    added_up: BTreeMap<AgentId, Arc<Agent>>,
    pub updates: usize,
    pub started: usize,
}

/// What the witness knows of a task.
#[derive(Debug, Default)]
pub struct Known {
    offers: Vec<String>,
    accept: usize,
    /// What it uses while it runs.
    pub needs: Amounts,
    agent: Option<String>,
    sent: bool,
    container: Option<ContainerId>,
    running: bool,
    /// It was told that it is over, or never was.
    told_over: bool,
    /// Updates in the order in which each has first come from there.
    by_executor: Vec<Bytes>,
    by_agent: Vec<Bytes>,
    at_framework: Vec<Bytes>,
    /// Updates that its agent has written down.
    written: BTreeSet<Bytes>,
    /// The newest update that told its end.
    last_seen: Option<Bytes>,
}

pub fn is_terminal(state: v1::TaskState) -> bool {
    TaskState::from(state).is_terminal()
}

impl Witness {
    fn known(&mut self, task: &str) -> &mut Known {
        self.tasks.get_mut(task).unwrap_or_else(|| panic!("nobody ever asked for task {task}"))
    }

    // ---- offers and launches ----

    pub fn offered(&mut self, offer: &str) {
        assert!(self.offers.insert(offer.to_owned()), "offer {offer} is made twice");
    }

    pub fn accepts(&mut self, offers: &[&str], tasks: &[v1::TaskInfo]) {
        self.accepts += 1;
        for task in tasks {
            let known = Known {
                offers: offers.iter().map(|o| (*o).to_owned()).collect(),
                accept: self.accepts,
                needs: amounts(&task.resources),
                ..Known::default()
            };
            let name = task.task_id.value.clone();
            assert!(self.tasks.insert(name, known).is_none(), "the script names two tasks alike");
        }
    }

    pub fn master_says(&mut self, message: &from_master::Message) {
        let from_master::Message::RunTask(run) = message else { return };
        let task = &run.task.task_id.value;
        let agent = run.task.agent_id.value.clone();
        let known = self.known(task);
        assert!(!known.sent, "task {task} is sent to an agent twice");
        known.sent = true;
        known.agent = Some(agent);
        let (offers, accept) = (known.offers.clone(), known.accept);
        for offer in offers {
            let by = *self.used.entry(offer.clone()).or_insert(accept);
            assert!(by == accept, "offer {offer} is used by two calls; the second launches {task}");
        }
    }

    /// Tasks that were sent to an agent.
    pub fn sent(&self) -> usize {
        self.tasks.values().filter(|known| known.sent).count()
    }

    // ---- at agents ----

    pub fn task_starts(&mut self, task: &str, container: &ContainerId) {
        let known = self.known(task);
        assert!(
            known.container.is_none(),
            "task {task} runs in {:?}, and now in {container}",
            known.container
        );
        assert!(!known.told_over, "task {task} starts after it was told to be over");
        known.container = Some(container.clone());
        known.running = true;
        self.started += 1;
    }

    pub fn task_is_over(&mut self, task: &str) {
        self.known(task).running = false;
    }

    pub fn executor_says(&mut self, task: &str, uuid: &Bytes) {
        self.known(task).by_executor.push(uuid.clone());
    }

    pub fn agent_writes(&mut self, checkpoint: &Checkpoint) {
        if let Checkpoint::Append { record, .. } = checkpoint
            && let Some(Record::StatusUpdated(updated)) = &record.record
            && let Some(uuid) = updated.status.uuid.clone()
        {
            self.known(&updated.status.task_id.value).written.insert(uuid);
        }
    }

    pub fn agent_tells_executor(
        &mut self,
        event: &executor::Event,
        container: &ContainerId,
        disk: &Disk,
    ) {
        if let Some(launch) = &event.launch
            && disk.has_run(container)
        {
            let task = &launch.task.task_id.value;
            assert!(
                disk.has_task(container, task),
                "task {task} is delivered before it is written down"
            );
        }
    }

    pub fn agent_sends(&mut self, update: &StatusUpdate, disk: &Disk) {
        let task = &update.status.task_id.value;
        let uuid = update.status.uuid.clone().expect("an agent's update has a uuid");
        assert!(
            !self.acknowledged.contains(&uuid),
            "an update of {task} is sent again though it was acknowledged"
        );
        let written = disk.has_update(&update.framework_id.value, task, &uuid);
        assert!(written != Some(false), "an update of {task} is sent before it is written down");
        let known = self.known(task);
        if update.status.source() == Source::Executor {
            assert!(
                known.by_executor.contains(&uuid),
                "an update of {task} that its executor did not make"
            );
        }
        if !known.by_agent.contains(&uuid) {
            known.by_agent.push(uuid);
        }
        for state in [update.status.state(), update.latest_state()] {
            if is_terminal(state) {
                assert!(
                    !known.running,
                    "task {task} is told to be {} but still runs",
                    state.as_str_name()
                );
                known.told_over = true;
            }
        }
    }

    pub fn acknowledged_at_agent(&mut self, uuid: Bytes) {
        self.acknowledged.insert(uuid);
    }

    pub fn agent_is_gone_for_good(&mut self, id: &str) {
        self.gone_for_good.insert(id.to_owned());
    }

    pub fn agent_leaves(&mut self, id: &str) {
        self.have_left.insert(id.to_owned());
    }

    // ---- at frameworks ----

    pub fn framework_learns(&mut self, status: &v1::TaskStatus, aware: bool) {
        self.updates += 1;
        let task = &status.task_id.value;
        let left = self.tasks[task].agent.as_ref().is_some_and(|a| self.have_left.contains(a));
        let known = self.known(task);
        // Lost, said by the master, may mean unreachable, or that the agent is about to leave.
        let sure = status.uuid.is_some() || (aware && status.state() != v1::TaskState::TaskLost);
        if is_terminal(status.state()) && sure {
            let state = status.state().as_str_name();
            assert!(!known.running, "task {task} is told to be {state} but still runs");
            known.told_over = true;
        }
        let Some(uuid) = &status.uuid else { return };
        if known.at_framework.contains(uuid) {
            return;
        }
        // What is not written down is forgotten by an agent that dies, which may then make something new of it. One that
        // leaves forgets everything.
        let forgotten = |uuid: &Bytes| left || !known.written.contains(uuid);
        let last = known.last_seen.as_ref();
        assert!(
            last.is_none_or(forgotten),
            "a new update of {task} after its last one: {status:?}"
        );
        let place =
            known.by_agent.iter().position(|u| u == uuid).expect("agents send what frameworks get");
        let before = known
            .at_framework
            .last()
            .and_then(|last| known.by_agent.iter().position(|u| u == last));
        assert!(before.is_none_or(|b| b < place), "updates of {task} are out of order");
        let skipped = known.by_agent.iter().take(place).skip(before.map_or(0, |b| b + 1));
        assert!(skipped.into_iter().all(forgotten), "an update of {task} is skipped");
        let made = |uuid: &Bytes| known.by_executor.iter().position(|u| u == uuid);
        if let Some(now) = made(uuid) {
            let newest = known.at_framework.iter().filter_map(made).max();
            assert!(newest.is_none_or(|n| n < now), "updates of {task} are out of order");
        }
        known.at_framework.push(uuid.clone());
        if is_terminal(status.state()) {
            known.last_seen = Some(uuid.clone());
        }
    }

    /// At the end: everything that was written down has been told.
    pub fn check_all_told(&self, needless: &BTreeSet<String>) {
        for (task, known) in &self.tasks {
            assert!(!known.running, "task {task} still runs");
            let gone = |a: &String| self.gone_for_good.contains(a) || self.have_left.contains(a);
            let gone = known.agent.as_ref().is_some_and(gone);
            let told = known.written.iter().all(|u| known.at_framework.contains(u));
            let needed = !gone && !needless.contains(task);
            assert!(
                told || !needed,
                "an update of {task} was written down and never told: {known:?}"
            );
        }
    }
}

impl World {
    /// The books of the master add up, for every agent, and its allocator agrees.
    pub fn check_master(&mut self) {
        let Some(cluster) = &self.master.core else { return };
        let books = &cluster.books;
        for (id, agent) in &books.agents {
            if self.witness.added_up.get(id).is_some_and(|before| Arc::ptr_eq(before, agent)) {
                continue;
            }
            let mut sum = agent.available.clone();
            for offer in &agent.offers {
                let offer = books.offers.get(offer).expect("an agent lists only offers that exist");
                assert_eq!(offer.agent, *id);
                sum += &offer.resources.unallocate();
            }
            for (framework, task) in &agent.tasks {
                let framework = books.frameworks.get(framework).expect("the framework of a task");
                let task = framework.tasks.get(task).expect("an agent lists only live tasks");
                if !task.freed {
                    sum += &task.resources.unallocate();
                }
            }
            for (framework, executor) in &agent.executors {
                let framework =
                    books.frameworks.get(framework).expect("the framework of an executor");
                sum += &framework.executors[&(id.clone(), executor.clone())].resources.unallocate();
            }
            assert_eq!(sum, agent.total, "free + offered + used is not the total of {id}");
            self.master.allocator.check(books, agent);
            self.witness.added_up.insert(id.clone(), Arc::clone(agent));
        }
        for framework in books.frameworks.values() {
            for (id, task) in &framework.tasks {
                let listed = |a: &Arc<Agent>| a.tasks.contains(&(framework.id.clone(), id.clone()));
                assert!(
                    books.agents.get(&task.agent).is_some_and(listed),
                    "no agent lists task {id}"
                );
            }
        }
    }

    /// What tasks really use on a machine is not more than it has.
    pub fn check_machine(&self, agent: usize) {
        if self.witness.somebody_left {
            return;
        }
        let host = &self.agents[agent];
        let mut used = Amounts::new();
        for container in host.containers.values() {
            for (task, _) in container.tasks.iter().filter(|(_, over)| !**over) {
                for (name, amount) in &self.witness.tasks[task].needs {
                    *used.entry(name.clone()).or_default() += amount;
                }
            }
        }
        let total = amounts(&host.info.resources);
        let fits = used.iter().all(|(name, amount)| total.get(name).is_some_and(|t| amount <= t));
        assert!(fits, "agent {agent} has {total:?}, and tasks run that use {used:?}");
    }
}
