//! The end of a story: nothing breaks any more, nothing new is started, time passes. Then everything has to come to rest:
//! every task's end is told and acknowledged or explained, everything is free, nothing is pending.

use std::time::Duration;

use crate::world::World;

/// How long it may take until everything rests: updates may wait ten minutes before they are sent again.
const PATIENCE: Duration = Duration::from_secs(40 * 60);

impl World {
    pub fn come_to_an_end(&mut self) {
        self.calm = true;
        self.tell(|| "calm".to_owned());
        let until = self.now + PATIENCE;
        let mut look_at = self.now;
        loop {
            self.step();
            if self.now < look_at {
                continue;
            }
            look_at = self.now + Duration::from_secs(10);
            match self.rests() {
                Ok(()) => break,
                Err(what) => assert!(self.now < until, "after {PATIENCE:?} of rest: {what}"),
            }
        }
        let over = self.frameworks.iter().flat_map(|f| f.over.iter().cloned()).collect();
        self.witness.check_all_told(&over);
    }

    /// Whether everything has come to rest; if not, what has not.
    fn rests(&self) -> Result<(), String> {
        for framework in &self.frameworks {
            if !framework.subscribed {
                return Err(format!("framework {} is not subscribed", framework.index));
            }
            if let Some((task, note)) = framework.tasks.iter().find(|(_, note)| !note.settled) {
                let known = &self.witness.tasks[task];
                return Err(format!("what became of task {task} is not known: {note:?} {known:?}"));
            }
        }
        for agent in 0..self.agents.len() {
            self.agent_rests(agent)?;
        }
        self.master_rests()?;
        let expected = self.agents.len() + self.frameworks.len();
        if self.links.len() > expected {
            return Err(format!("{} connections, expected {expected}", self.links.len()));
        }
        Ok(())
    }

    fn master_rests(&self) -> Result<(), String> {
        let Some(cluster) = &self.master.core else { return Err("the master is down".to_owned()) };
        let books = &cluster.books;
        if let Some((id, _)) =
            books.recovered_agents.iter().find(|(id, _)| !self.nobody_is(id.as_str()))
        {
            return Err(format!("agent {id} is expected back"));
        }
        for (id, agent) in &books.agents {
            if self.nobody_is(id.as_str()) {
                return Err(format!("agent {id} is in the books, and nobody is"));
            }
            if !agent.connected() {
                return Err(format!("agent {id} is not connected"));
            }
            if !agent.tasks.is_empty()
                || !agent.executors.is_empty()
                || !agent.pending_kills.is_empty()
            {
                return Err(format!(
                    "of agent {id} there are left: {:?} {:?} {:?}",
                    agent.tasks, agent.executors, agent.pending_kills
                ));
            }
            if agent.available != agent.total || !agent.offers.is_empty() {
                return Err(format!("agent {id} has {} of {} free", agent.available, agent.total));
            }
        }
        let live = self.agents.iter().filter_map(|a| a.disk.agent.as_ref());
        for id in live {
            if !books.agents.contains_key(id) {
                return Err(format!("agent {id} is not in the books"));
            }
        }
        for framework in books.frameworks.values() {
            let of_others = |t: &mezzo_master_core::Task| !self.nobody_is(t.agent.as_str());
            if let Some(task) = framework.unreachable_tasks.values().find(|t| of_others(t)) {
                return Err(format!("task {} counts as unreachable", task.id));
            }
            if let Some(task) = framework.tasks.values().find(|t| of_others(t)) {
                return Err(format!("task {} counts as live", task.id));
            }
        }
        Ok(())
    }
}
