//! The decision: is this container over its memory? Pure: what was seen and when comes in, the verdict goes out.
//!
//! Semantics of YARN's NodeManager:
//! * A process has age 1 when it is first seen, and one more in every round that it lives on.
//! * A tree is over a limit when all of it is over **twice** the limit, or when its processes of an age above 1 are over the
//!   limit. A program that forks to start another one doubles its memory for a moment: that is not held against it, as the
//!   fork is new. Exactly the limit (or twice the limit) is not over it.
//! * Virtual memory is judged first, and when it is over nothing is said about the physical.
//! * A container is judged only in rounds in which its CPU percentage is known and not negative, so never in the first.
//!
//! Where we differ: a pid that is used again is a new process with age 1 (there it keeps its age); and a container that starts
//! and ends busy processes all the time cannot keep its percentage negative for ever: after [`NEGATIVE_ROUNDS`] such
//! rounds in a row it is judged all the same.

use std::collections::HashMap;

use crate::cpu::CpuTracker;
use crate::process::Process;

/// Rounds in a row without a verdict because a process has ended.
const NEGATIVE_ROUNDS: u32 = 3;

/// How much a container may have, in bytes. `None`: as much as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) virtual_bytes: Option<u64>,
    pub(crate) physical_bytes: Option<u64>,
}

/// Which memory it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Virtual,
    Physical,
}

/// What a round says about a container.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Not judged: its CPU percentage is not known.
    TooEarly,
    /// Not over any limit.
    Within,
    /// Over this limit, by so many bytes of all its processes.
    Over { kind: Kind, excess: u64 },
}

/// One container over the rounds.
#[derive(Debug, Default)]
pub(crate) struct Monitored {
    members: Vec<Member>,
    cpu: CpuTracker,
    negative_rounds: u32,
    /// Since it is monitored: also of processes that have ended, but for their last moments.
    cpu_ticks: u64,
}

#[derive(Debug)]
struct Member {
    process: Process,
    age: u32,
}

impl Monitored {
    /// The next round: these are its processes now.
    pub(crate) fn round(
        &mut self,
        processes: Vec<Process>,
        now_millis: u64,
        tick_millis: u64,
        limits: Limits,
    ) -> Verdict {
        self.refresh(processes);
        let live: u64 = self.members.iter().map(|member| ticks(&member.process)).sum();
        match self.cpu.sample(now_millis, live, tick_millis) {
            None => return Verdict::TooEarly,
            Some(percent) if percent < 0.0 && self.negative_rounds < NEGATIVE_ROUNDS => {
                self.negative_rounds += 1;
                return Verdict::TooEarly;
            }
            Some(percent) if percent < 0.0 => {}
            Some(_) => self.negative_rounds = 0,
        }
        let judge = |kind, limit: Option<u64>, total: u64, aged: u64| {
            let limit = limit.filter(|limit| is_over(total, aged, *limit))?;
            Some(Verdict::Over { kind, excess: total.saturating_sub(limit) })
        };
        let (all, aged) = (self.total(0), self.total(1));
        judge(Kind::Virtual, limits.virtual_bytes, all.virtual_bytes, aged.virtual_bytes)
            .or_else(|| {
                let limit = limits.physical_bytes;
                judge(Kind::Physical, limit, all.physical_bytes, aged.physical_bytes)
            })
            .unwrap_or(Verdict::Within)
    }

    fn refresh(&mut self, processes: Vec<Process>) {
        let before: HashMap<(i32, u64), Member> = self
            .members
            .drain(..)
            .map(|member| ((member.process.pid, member.process.start_time), member))
            .collect();
        for process in processes {
            let known = before.get(&(process.pid, process.start_time));
            let spent = known.map_or(0, |member| ticks(&member.process));
            self.cpu_ticks = self.cpu_ticks.saturating_add(ticks(&process).saturating_sub(spent));
            let age = known.map_or(1, |member| member.age.saturating_add(1));
            self.members.push(Member { process, age });
        }
    }

    /// The memory of its processes above this age.
    pub(crate) fn total(&self, above_age: u32) -> Memory {
        let counted = self.members.iter().filter(|member| member.age > above_age);
        counted.fold(Memory::default(), |sum, Member { process, .. }| Memory {
            virtual_bytes: sum.virtual_bytes.saturating_add(process.virtual_bytes),
            physical_bytes: sum.physical_bytes.saturating_add(process.physical_bytes),
        })
    }

    /// Its processes, as they were in this round.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.members.iter().map(|member| &member.process)
    }

    /// The CPU percentage of the last round that had one; of one CPU, so it can be above 100.
    pub(crate) fn cpu_percent(&self) -> Option<f64> {
        self.cpu.percent()
    }

    /// CPU time since it is monitored, in clock ticks.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        self.cpu_ticks
    }
}

/// Memory of several processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) virtual_bytes: u64,
    pub(crate) physical_bytes: u64,
}

fn is_over(total: u64, aged: u64, limit: u64) -> bool {
    total > limit.saturating_mul(2) || aged > limit
}

fn ticks(process: &Process) -> u64 {
    process.user_ticks.saturating_add(process.system_ticks)
}

#[cfg(test)]
mod tests;
