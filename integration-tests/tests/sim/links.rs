//! Connections between processes: streams that carry packets in order and late, and that break. When one breaks, what was
//! on its way is lost and each end learns of it in its own time, so that one may be back before the other has noticed.

use std::collections::BTreeMap;
use std::time::Duration;

use mezzo_agent_core::ExecutorCall;
use mezzo_model::ContainerId;
use mezzo_proto::v1::link::{from_agent, from_master};
use mezzo_proto::v1::{executor, scheduler};

use crate::world::{Event, World};

/// A connection, numbered; a number is never used twice, and doubles as the number of the session.
pub type ConnId = u64;

/// Who speaks over a connection.
#[derive(Clone, Debug)]
pub enum Kind {
    /// An agent to the master.
    Agent(usize),
    /// A framework to the master.
    Framework(usize),
    /// An executor to its agent.
    Executor(usize, ContainerId),
}

/// An end of a connection: the one that opened it, or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Server,
    Client,
}

impl End {
    fn other(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }
}

/// What travels.
#[derive(Clone, Debug)]
pub enum Packet {
    FromAgent(Box<from_agent::Message>),
    FromMaster(Box<from_master::Message>),
    Call(Box<scheduler::Call>),
    Event(Box<scheduler::Event>),
    FromExecutor(Box<ExecutorCall>),
    ToExecutor(Box<executor::Event>),
    /// The sender says no more.
    End,
}

#[derive(Debug)]
struct Conn {
    kind: Kind,
    cut: bool,
    /// Whether each end still has it, server first.
    has: [bool; 2],
    /// When the last packet to each end arrives.
    last: [Duration; 2],
}

/// All connections that at least one end has.
#[derive(Debug, Default)]
pub struct Links {
    conns: BTreeMap<ConnId, Conn>,
    next: ConnId,
}

impl Links {
    /// The connections that nothing has happened to.
    pub fn sound(&self) -> Vec<ConnId> {
        self.conns
            .iter()
            .filter(|(_, c)| !c.cut && c.has == [true, true])
            .map(|(id, _)| *id)
            .collect()
    }

    /// The connections that one end still holds.
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    fn has(&mut self, conn: ConnId, end: End) -> Option<&mut Conn> {
        self.conns.get_mut(&conn).filter(|c| c.has[end as usize])
    }
}

impl World {
    /// A new connection. The server learns of it with the first packet.
    pub fn open(&mut self, kind: Kind) -> ConnId {
        self.links.next += 1;
        let conn = Conn { kind, cut: false, has: [true, true], last: [self.now; 2] };
        self.links.conns.insert(self.links.next, conn);
        self.links.next
    }

    /// Sends from one end to the other. Into a broken connection it is sent all the same.
    pub fn send(&mut self, conn: ConnId, from: End, packet: Packet) {
        let latency =
            if self.chance(0.02) { self.between(20, 1500) } else { self.micros(100, 6000) };
        let now = self.now;
        let to = from.other();
        let Some(entry) = self.links.has(conn, from).filter(|c| !c.cut) else { return };
        let last = &mut entry.last[to as usize];
        *last = (*last + Duration::from_nanos(1)).max(now + latency);
        let at = *last;
        self.at(at, Event::Arrive { conn, to, packet });
    }

    /// An end leaves: the other gets what was sent before, then learns of it.
    pub fn close(&mut self, conn: ConnId, end: End) {
        self.send(conn, end, Packet::End);
        self.forget(conn, end);
    }

    /// The server ends a stream after what it sent before. It hears of the end as of any other.
    pub fn hang_up(&mut self, conn: ConnId) {
        self.send(conn, End::Server, Packet::End);
        let noticed = self.between(1, 200);
        self.after(noticed, Event::Lost { conn, end: End::Server });
    }

    /// Breaks a connection. Each end notices some time later.
    pub fn cut(&mut self, conn: ConnId) {
        let Some(entry) = self.links.conns.get_mut(&conn) else { return };
        entry.cut = true;
        for end in [End::Server, End::Client] {
            let noticed = match self.pick(10) {
                0..6 => self.between(0, 200),
                6..9 => self.between(200, 5000),
                _ => self.between(5000, 40_000),
            };
            self.after(noticed, Event::Lost { conn, end });
        }
    }

    /// The process at one end is gone; the other end notices soon.
    pub fn die(&mut self, conn: ConnId, end: End) {
        let Some(entry) = self.links.conns.get_mut(&conn) else { return };
        entry.cut = true;
        self.forget(conn, end);
        let noticed = if self.chance(0.9) { self.between(0, 300) } else { self.between(300, 8000) };
        self.after(noticed, Event::Lost { conn, end: end.other() });
    }

    /// The connections of which the server is the master.
    pub fn to_master(&self) -> Vec<ConnId> {
        let of_master =
            |c: &Conn| !matches!(c.kind, Kind::Executor(..)) && c.has[End::Server as usize];
        self.links.conns.iter().filter(|(_, c)| of_master(c)).map(|(id, _)| *id).collect()
    }

    fn forget(&mut self, conn: ConnId, end: End) {
        let Some(entry) = self.links.has(conn, end) else { return };
        entry.has[end as usize] = false;
        if entry.has == [false, false] {
            self.links.conns.remove(&conn);
        }
    }

    /// A packet is there, if its connection still is.
    pub fn arrive(&mut self, conn: ConnId, to: End, packet: Packet) {
        let Some(entry) = self.links.has(conn, to).filter(|c| !c.cut) else { return };
        let kind = entry.kind.clone();
        match (packet, kind) {
            (Packet::End, _) => self.lost(conn, to),
            (Packet::FromAgent(message), _) => self.master_hears_agent(conn, *message),
            (Packet::Call(call), _) => self.master_hears_framework(conn, *call),
            (Packet::FromMaster(message), Kind::Agent(agent)) => {
                self.agent_hears_master(agent, conn, *message)
            }
            (Packet::Event(event), Kind::Framework(framework)) => {
                self.framework_hears(framework, conn, *event)
            }
            (Packet::FromExecutor(call), Kind::Executor(agent, container)) => {
                self.agent_hears_executor(agent, conn, &container, *call);
            }
            (Packet::ToExecutor(event), Kind::Executor(agent, container)) => {
                self.executor_hears(agent, &container, conn, *event);
            }
            (packet, kind) => panic!("{packet:?} does not travel between {kind:?} and its server"),
        }
    }

    /// An end notices that its connection is gone.
    pub fn lost(&mut self, conn: ConnId, end: End) {
        let Some(entry) = self.links.has(conn, end) else { return };
        let kind = entry.kind.clone();
        self.forget(conn, end);
        match (end, kind) {
            (End::Server, Kind::Agent(_)) => self.master_loses_agent(conn),
            (End::Server, Kind::Framework(_)) => self.master_loses_framework(conn),
            (End::Server, Kind::Executor(agent, _)) => self.agent_loses_executor(agent, conn),
            (End::Client, Kind::Agent(agent)) => self.agent_loses_master(agent, conn),
            (End::Client, Kind::Framework(framework)) => {
                self.framework_loses_master(framework, conn)
            }
            (End::Client, Kind::Executor(agent, container)) => {
                self.executor_loses_agent(agent, &container, conn)
            }
        }
    }
}
