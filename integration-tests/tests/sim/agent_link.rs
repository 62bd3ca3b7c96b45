//! The line from an agent's process to the master: made, watched and made again.

use std::time::Duration;

use mezzo_agent_core::Command;
use mezzo_proto::v1::link::{Pong, from_agent, from_master};

use crate::agent::Due;
use crate::links::{ConnId, End, Kind, Packet};
use crate::world::{Event, World};

/// A master that has not registered the agent by then is asked anew.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(15);

impl World {
    /// The network between a machine and the master goes dark.
    pub fn goes_dark(&mut self, agent: usize, time: Duration) {
        self.agents[agent].dark_until = self.now + time;
        if let Some(link) = self.agents[agent].link {
            self.cut(link);
        }
    }

    pub fn try_master(&mut self, agent: usize) {
        let host = &mut self.agents[agent];
        let most = 200 << host.attempt.min(5);
        host.attempt += 1;
        let life = host.life;
        let wait = self.between(0, most);
        self.after(wait, Event::Agent { agent, life, due: Due::Connect });
    }

    pub fn connect_to_master(&mut self, agent: usize) {
        if self.master.core.is_none() || self.now < self.agents[agent].dark_until {
            return self.try_master(agent);
        }
        let conn = self.open(Kind::Agent(agent));
        let host = &mut self.agents[agent];
        host.link = Some(conn);
        host.patience = REGISTER_TIMEOUT;
        host.heard = self.now;
        self.watch_link(agent, conn);
        self.agent_does(agent, Command::LinkUp);
    }

    fn watch_link(&mut self, agent: usize, conn: ConnId) {
        let host = &self.agents[agent];
        let (at, life) = (host.heard + host.patience, host.life);
        self.at(at, Event::Agent { agent, life, due: Due::Listen(conn) });
    }

    pub fn listen(&mut self, agent: usize, conn: ConnId) {
        let host = &self.agents[agent];
        if host.link != Some(conn) {
            return;
        }
        if self.now < host.heard + host.patience {
            return self.watch_link(agent, conn);
        }
        self.close(conn, End::Client);
        self.agent_loses_master(agent, conn);
    }

    pub fn agent_loses_master(&mut self, agent: usize, conn: ConnId) {
        if self.agents[agent].link != Some(conn) {
            return;
        }
        self.agents[agent].link = None;
        self.agent_does(agent, Command::LinkDown);
        if self.agents[agent].core.is_some() {
            self.try_master(agent);
        }
    }

    pub fn agent_hears_master(
        &mut self,
        agent: usize,
        conn: ConnId,
        message: from_master::Message,
    ) {
        let host = &mut self.agents[agent];
        if host.link != Some(conn) {
            return;
        }
        host.heard = self.now;
        match &message {
            from_master::Message::Ping(_) => {
                return self.send(
                    conn,
                    End::Client,
                    Packet::FromAgent(Box::new(from_agent::Message::Pong(Pong {}))),
                );
            }
            from_master::Message::Registered(registered) => {
                host.attempt = 0;
                host.patience = Duration::from_millis(registered.ping_timeout_ms);
            }
            _ => {}
        }
        self.agent_does(agent, Command::FromMaster(Box::new(message)));
    }
}
