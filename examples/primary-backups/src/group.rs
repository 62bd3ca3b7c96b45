//! The scheduler: which member may start now, and what has to happen when one dies.

use std::collections::BTreeMap;

use mezzo_sdk::v1::{Offer, TaskId, TaskState, TaskStatus};
use mezzo_sdk::{Handle, Packing, Scheduler, Task, is_terminal};

use crate::tell;

const BACKUPS: usize = 2;

/// A primary and its backups, generation after generation.
#[derive(Debug)]
pub(crate) struct Group {
    program: String,
    /// How many more primaries are to be killed for show.
    accidents: u32,
    generation: u32,
    phase: Phase,
    /// Living members by task id.
    members: BTreeMap<String, Member>,
    started: u32,
    /// The primary of this generation was killed for show; its end is not known yet.
    accident: bool,
}

#[derive(Debug, PartialEq)]
enum Phase {
    /// The primary is to be launched.
    Alone,
    /// The primary is launched; nobody else may start before it runs.
    PrimaryStarts { address: String },
    /// The primary runs at this address; backups are welcome.
    PrimaryRuns { address: String },
    /// The primary is dead; its backups have to end before anything starts.
    WindingDown,
}

#[derive(Debug)]
struct Member {
    role: Role,
    running: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    Primary,
    Backup,
}

impl Group {
    pub(crate) fn new(program: String, accidents: u32) -> Self {
        Self {
            program,
            accidents,
            generation: 1,
            phase: Phase::Alone,
            members: BTreeMap::new(),
            started: 0,
            accident: false,
        }
    }

    /// How many times the whole group has run.
    pub(crate) fn generations(&self) -> u32 {
        self.generation
    }

    fn count(&self, role: Role) -> usize {
        self.members.values().filter(|member| member.role == role).count()
    }

    /// The next task that may start now.
    fn next(&mut self) -> Option<(Role, Task)> {
        let (role, task) = match &self.phase {
            Phase::Alone => (Role::Primary, self.task("primary").ports(1)),
            Phase::PrimaryRuns { address } if self.count(Role::Backup) < BACKUPS => {
                (Role::Backup, self.task("backup").env("PRIMARY", address))
            }
            _ => return None,
        };
        Some((role, task))
    }

    fn task(&self, role: &str) -> Task {
        let id = format!("{role}-{}-{}", self.generation, self.started);
        Task::command([self.program.as_str(), role]).id(id).name(role)
    }

    fn launched(&mut self, role: Role, id: &TaskId) {
        self.started += 1;
        self.members.insert(id.value.clone(), Member { role, running: false });
        tell(&format!("launched {}", id.value));
    }

    fn runs(&mut self, handle: &Handle, id: &TaskId) {
        let Some(member) = self.members.get_mut(&id.value) else { return };
        if std::mem::replace(&mut member.running, true) {
            // The same update again.
            return;
        }
        tell(&format!("{} runs", id.value));
        let role = member.role;
        if let (Role::Primary, Phase::PrimaryStarts { address }) = (role, &self.phase) {
            self.phase = Phase::PrimaryRuns { address: address.clone() };
            handle.revive([]);
        }
        let complete = self.count(Role::Backup) == BACKUPS
            && self.members.values().all(|member| member.running);
        if complete {
            self.complete(handle);
        }
    }

    /// All three run. Nothing more is needed; but accidents happen.
    fn complete(&mut self, handle: &Handle) {
        if self.accident {
            return;
        }
        tell(&format!("generation {} is complete", self.generation));
        handle.suppress([]);
        if self.accidents == 0 {
            handle.teardown();
            return;
        }
        self.accidents -= 1;
        self.accident = true;
        let primary = self.members.iter().find(|(_, member)| member.role == Role::Primary);
        if let Some((id, _)) = primary {
            tell(&format!("accident: killing {id}"));
            handle.kill(TaskId { value: id.clone() });
        }
    }

    fn ended(&mut self, handle: &Handle, id: &TaskId) {
        let Some(member) = self.members.remove(&id.value) else { return };
        tell(&format!("{} ended", id.value));
        if member.role == Role::Primary {
            self.phase = Phase::WindingDown;
            for id in self.members.keys() {
                handle.kill(TaskId { value: id.clone() });
            }
        }
        if self.phase == Phase::WindingDown && self.members.is_empty() {
            self.generation += 1;
            self.phase = Phase::Alone;
            self.accident = false;
        }
        if self.phase != Phase::WindingDown {
            handle.revive([]);
        }
    }
}

impl Scheduler for Group {
    fn offers(&mut self, handle: &Handle, offers: Vec<Offer>) {
        let mut packing = Packing::new(offers);
        while let Some((role, task)) = self.next() {
            let Some(placed) = packing.place(&task) else { break };
            if let (Role::Primary, Some(port)) = (role, placed.ports.first()) {
                let agent = placed.agent_address.unwrap_or(placed.hostname);
                let host = agent.rsplit_once(':').map_or(agent.as_str(), |(host, _)| host);
                self.phase = Phase::PrimaryStarts { address: format!("{host}:{port}") };
            }
            self.launched(role, &placed.task_id);
        }
        packing.launch(handle);
    }

    fn status_update(&mut self, handle: &Handle, status: TaskStatus) {
        let state = status.state();
        if state == TaskState::TaskRunning {
            self.runs(handle, &status.task_id);
        } else if is_terminal(state) {
            self.ended(handle, &status.task_id);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use mezzo_sdk::testing::{FakeMaster, offer};
    use mezzo_sdk::v1::{Resource, TaskInfo, value};
    use mezzo_sdk::{Framework, SchedulerDriver, v1};

    use super::*;

    fn whole_agent() -> Offer {
        let mut offer = offer("o", "a1", &[("cpus", 4.0), ("mem", 4096.0)]);
        offer.resources.push(Resource {
            name: "ports".to_owned(),
            r#type: value::Type::Ranges.into(),
            ranges: Some(value::Ranges { range: vec![value::Range { begin: 31000, end: 32000 }] }),
            ..Default::default()
        });
        offer
    }

    fn tasks(accept: v1::scheduler::call::Accept) -> Vec<TaskInfo> {
        accept.operations.into_iter().filter_map(|o| o.launch).flat_map(|l| l.task_infos).collect()
    }

    async fn generation(master: &FakeMaster) -> (TaskInfo, Vec<TaskInfo>) {
        master.offer([whole_agent()]);
        let primary = tasks(master.accepted().await);
        assert_eq!(primary.len(), 1, "the primary starts alone");
        // Offers while it starts are of no use yet.
        master.offer([whole_agent()]);
        master.next("a decline", |call| call.decline.clone()).await;
        let primary = primary.into_iter().next().unwrap();
        assert_eq!(primary.name, "primary");
        master.update(&primary, TaskState::TaskRunning);
        master.acknowledged().await;
        master.offer([whole_agent()]);
        let backups = tasks(master.accepted().await);
        assert_eq!(backups.len(), BACKUPS);
        for backup in &backups {
            let environment = backup.command.as_ref().unwrap().environment.as_ref().unwrap();
            let variable = environment.variables.first().unwrap();
            assert_eq!((variable.name.as_str(), variable.value()), ("PRIMARY", "127.0.0.1:31000"));
            master.update(backup, TaskState::TaskRunning);
        }
        (primary, backups)
    }

    #[tokio::test]
    #[allow(clippy::disallowed_methods, reason = "an outsider has no runtime of ours")]
    async fn backups_start_after_their_primary_and_end_before_the_next_one_starts() {
        let master = FakeMaster::start().await.unwrap();
        let driver = SchedulerDriver::new(master.address(), Framework::new("test"));
        let running = tokio::spawn(driver.run(Group::new("/program".to_owned(), 1)));
        master.subscription().await;
        let (primary, backups) = generation(&master).await;
        let killed = master.next("a kill", |call| call.kill.clone()).await;
        assert_eq!(killed.task_id, primary.task_id);
        master.update(&primary, TaskState::TaskKilled);
        for _ in &backups {
            master.next("a kill of a backup", |call| call.kill.clone()).await;
        }
        // One backup still lives: nothing may start.
        let (last, others) = backups.split_last().unwrap();
        for backup in others {
            master.update(backup, TaskState::TaskKilled);
        }
        master.offer([whole_agent()]);
        master.next("a decline", |call| call.decline.clone()).await;
        master.update(last, TaskState::TaskKilled);
        master.next("a revive", |call| call.revive.clone()).await;
        generation(&master).await;
        let group = running.await.unwrap().unwrap();
        assert_eq!(group.generations(), 2);
    }
}
