//! What frameworks do with offers, and what they do now and then.

use mezzo_model::{Format, Resources, Role};
use mezzo_proto::v1;
use mezzo_proto::v1::offer::{Operation, operation};
use mezzo_proto::v1::scheduler::{self, call};

use crate::framework::{Due, Note};
use crate::world::World;

/// What is left of offers while tasks are cut from them.
struct Left {
    cpus: f64,
    mem: f64,
    ports: Vec<u64>,
}

impl World {
    /// Uses an offer, alone or with others of the same agent, or sends it back.
    pub fn decide(&mut self, framework: usize, id: &str) {
        let Some(offer) = self.frameworks[framework].held.remove(id) else { return };
        if self.calm || self.chance(0.2) {
            return self.decline(framework, vec![offer.id]);
        }
        let mut offers = vec![offer];
        if self.chance(0.3) {
            let role = |o: &v1::Offer| o.allocation_info.clone();
            let fits =
                |o: &v1::Offer| o.agent_id == offers[0].agent_id && role(o) == role(&offers[0]);
            let held = &mut self.frameworks[framework].held;
            let more: Vec<String> =
                held.iter().filter(|(_, o)| fits(o)).map(|(id, _)| id.clone()).collect();
            offers.extend(more.iter().filter_map(|id| held.remove(id)));
        }
        self.accept(framework, &offers);
        // A mistake that schedulers make.
        if self.chance(0.03) {
            self.accept(framework, &offers);
        }
    }

    fn decline(&mut self, framework: usize, offer_ids: Vec<v1::OfferId>) {
        let decline = call::Decline { offer_ids, filters: None };
        self.call(
            framework,
            call::Type::Decline,
            scheduler::Call { decline: Some(decline), ..scheduler::Call::default() },
        );
    }

    fn accept(&mut self, framework: usize, offers: &[v1::Offer]) {
        let agent = offers[0].agent_id.value.clone();
        let mut left = left_of(offers);
        let count = self.pick(4);
        let tasks: Vec<v1::TaskInfo> =
            (0..count).map(|_| self.task(framework, &agent, &mut left)).collect();
        let ids: Vec<&str> = offers.iter().map(|o| o.id.value.as_str()).collect();
        let launch = Operation {
            r#type: Some(operation::Type::Launch.into()),
            launch: Some(operation::Launch { task_infos: tasks.clone() }),
            ..Operation::default()
        };
        let accept = call::Accept {
            offer_ids: offers.iter().map(|o| o.id.clone()).collect(),
            operations: vec![launch],
            filters: None,
        };
        let call = scheduler::Call { accept: Some(accept), ..scheduler::Call::default() };
        self.witness.accepts(&ids, &tasks);
        for task in tasks {
            let note = Note { agent: agent.clone(), settled: false, last: None };
            self.frameworks[framework].tasks.insert(task.task_id.value, note);
        }
        self.call(framework, call::Type::Accept, call);
    }

    fn task(&mut self, framework: usize, agent: &str, left: &mut Left) -> v1::TaskInfo {
        let number = self.frameworks[framework].tasks.len() + self.steps * 10 + self.pick(10);
        let name = format!("f{framework}-{number}-{:x}", self.bits() >> 40);
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let tenths = |n: usize| n as f64 / 10.0;
        // Now and then more than there is.
        let greedy = self.chance(0.03);
        let cpus = tenths(1 + self.pick(12)).min(if greedy { 100.0 } else { left.cpus });
        let mem = (16.0 + 10.0 * tenths(self.pick(1200))).floor().min(if greedy {
            1e5
        } else {
            left.mem
        });
        let (cpus, mem) = if greedy { (cpus + 50.0, mem) } else { (cpus, mem) };
        left.cpus = (left.cpus - cpus).max(0.0);
        left.mem = (left.mem - mem).max(0.0);
        let mut text = format!("cpus:{cpus:.1};mem:{mem:.0}");
        if self.chance(0.2)
            && let Some(port) = left.ports.pop()
        {
            text += &format!(";ports:[{port}-{port}]");
        }
        let resources = Resources::parse(&text, &Role::star()).expect("amounts are resources");
        let mut task = v1::TaskInfo {
            name: name.clone(),
            task_id: v1::TaskId { value: name },
            agent_id: v1::AgentId { value: agent.to_owned() },
            resources: resources.to_proto(Format::PostRefinement),
            ..v1::TaskInfo::default()
        };
        let command =
            v1::CommandInfo { value: Some("run".to_owned()), ..v1::CommandInfo::default() };
        if self.chance(0.6) {
            task.command = Some(command);
        } else {
            let needs =
                Resources::parse("cpus:0.1;mem:16", &Role::star()).expect("amounts are resources");
            task.executor = Some(v1::ExecutorInfo {
                executor_id: v1::ExecutorId { value: format!("e{}", self.pick(2)) },
                command: Some(command),
                resources: needs.to_proto(Format::PostRefinement),
                ..v1::ExecutorInfo::default()
            });
            left.cpus = (left.cpus - 0.1).max(0.0);
            left.mem = (left.mem - 16.0).max(0.0);
        }
        task
    }

    /// What a framework does every few seconds.
    pub fn routine(&mut self, framework: usize) {
        let wait = if self.calm { self.between(4000, 6000) } else { self.between(500, 4000) };
        self.framework_in(framework, wait, Due::Routine);
        if self.calm {
            let held = std::mem::take(&mut self.frameworks[framework].held);
            if !held.is_empty() {
                self.decline(framework, held.into_values().map(|o| o.id).collect());
            }
            return self.ask_for_tasks(framework);
        }
        match self.pick(10) {
            0..4 => self.kill_one(framework),
            4 => self.ask_for_tasks(framework),
            5 => {
                let reconcile = Some(call::Reconcile::default());
                let call = scheduler::Call { reconcile, ..scheduler::Call::default() };
                self.call(framework, call::Type::Reconcile, call);
            }
            6 => {
                let held = std::mem::take(&mut self.frameworks[framework].held);
                self.decline(framework, held.into_values().map(|o| o.id).collect());
            }
            7 if self.chance(0.3) => self.shut_down_one(framework),
            8 if self.chance(0.3) => {
                self.call(framework, call::Type::Suppress, scheduler::Call::default());
            }
            _ => {
                self.call(framework, call::Type::Revive, scheduler::Call::default());
            }
        }
    }

    /// Mostly one that is not over.
    fn kill_one(&mut self, framework: usize) {
        let any = self.chance(0.1);
        let tasks =
            self.frameworks[framework].tasks.iter().filter(|(_, note)| any || !note.settled);
        let tasks: Vec<(String, String)> =
            tasks.map(|(task, note)| (task.clone(), note.agent.clone())).collect();
        if tasks.is_empty() {
            return;
        }
        let (task, agent) = &tasks[self.pick(tasks.len())];
        let agent_id = self.chance(0.5).then(|| v1::AgentId { value: agent.clone() });
        let kill =
            call::Kill { task_id: v1::TaskId { value: task.clone() }, agent_id, kill_policy: None };
        self.call(
            framework,
            call::Type::Kill,
            scheduler::Call { kill: Some(kill), ..scheduler::Call::default() },
        );
    }

    /// Ends an executor where some task is.
    fn shut_down_one(&mut self, framework: usize) {
        let agents: Vec<String> =
            self.frameworks[framework].tasks.values().map(|note| note.agent.clone()).collect();
        if agents.is_empty() {
            return;
        }
        let shutdown = call::Shutdown {
            executor_id: v1::ExecutorId { value: format!("e{}", self.pick(2)) },
            agent_id: v1::AgentId { value: agents[self.pick(agents.len())].clone() },
        };
        let call = scheduler::Call { shutdown: Some(shutdown), ..scheduler::Call::default() };
        self.call(framework, call::Type::Shutdown, call);
    }

    /// Asks what has become of every task that is not known to be over.
    pub fn ask_for_tasks(&mut self, framework: usize) {
        let open = self.frameworks[framework].tasks.iter().filter(|(_, note)| !note.settled);
        let tasks: Vec<_> = open
            .map(|(task, note)| call::reconcile::Task {
                task_id: v1::TaskId { value: task.clone() },
                agent_id: Some(v1::AgentId { value: note.agent.clone() }),
            })
            .collect();
        // An empty list would ask for all.
        if tasks.is_empty() {
            return;
        }
        let reconcile = Some(call::Reconcile { tasks });
        self.call(
            framework,
            call::Type::Reconcile,
            scheduler::Call { reconcile, ..scheduler::Call::default() },
        );
    }
}

fn left_of(offers: &[v1::Offer]) -> Left {
    let mut all = Resources::default();
    for offer in offers {
        all += Resources::from_proto(&offer.resources)
            .expect("a master offers resources")
            .unallocate();
    }
    let ports = all.ports().numbers().collect();
    Left { cpus: all.cpus().to_f64(), mem: all.mem().to_f64(), ports }
}
