//! One command being applied: the state, the time, and what came of it so far.

use std::sync::Arc;

use mezzo_model::{AgentId, FrameworkId, OfferId};
use mezzo_proto::v1;
use mezzo_proto::v1::link::from_master;
use mezzo_proto::v1::scheduler;

use crate::effect::{Applied, Code, Effect, Rejection, ReplyTo, SessionId, Write, WriteId};
use crate::state::{AfterWrite, Agent, Books, Cluster, Framework, Offer};
use crate::time::Now;

/// The state that a command may change, and its effects.
pub(crate) struct Turn<'a> {
    pub(crate) cluster: &'a mut Cluster,
    pub(crate) now: Now,
    applied: Applied,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(cluster: &'a mut Cluster, now: Now) -> Self {
        Self { cluster, now, applied: Applied::default() }
    }

    pub(crate) fn finish(self) -> Applied {
        self.applied
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.applied.effects.push(effect);
    }

    pub(crate) fn reject(&mut self, rejection: Rejection) {
        self.applied.rejections.push(rejection);
    }

    /// Answers a caller, or keeps the refusal for the log if nobody waits.
    pub(crate) fn reply(&mut self, to: Option<ReplyTo>, result: Result<(), Rejection>) {
        if let Err(rejection) = &result {
            self.reject(rejection.clone());
        }
        if let Some(to) = to {
            self.effect(Effect::Reply { to, result });
        }
    }

    pub(crate) fn books(&mut self) -> &mut Books {
        &mut self.cluster.books
    }

    pub(crate) fn framework(&self, id: &FrameworkId) -> Option<&Arc<Framework>> {
        self.cluster.books.frameworks.get(id)
    }

    pub(crate) fn framework_mut(&mut self, id: &FrameworkId) -> Option<&mut Framework> {
        self.cluster.books.frameworks.get_mut(id).map(Arc::make_mut)
    }

    pub(crate) fn agent(&self, id: &AgentId) -> Option<&Arc<Agent>> {
        self.cluster.books.agents.get(id)
    }

    pub(crate) fn agent_mut(&mut self, id: &AgentId) -> Option<&mut Agent> {
        self.cluster.books.agents.get_mut(id).map(Arc::make_mut)
    }

    /// The framework, or a refusal that says it is not there.
    pub(crate) fn need_framework(&self, id: &FrameworkId) -> Result<&Arc<Framework>, Rejection> {
        self.framework(id).ok_or_else(|| {
            Rejection::new(
                Code::NotFound,
                format!("framework_id: {:?} is not a framework of this cluster", id.as_str()),
            )
        })
    }

    /// Sends an event to a framework; lost if it is not connected.
    pub(crate) fn tell_framework(&mut self, id: &FrameworkId, event: scheduler::Event) {
        if let Some(session) = self.framework(id).and_then(|f| f.session) {
            self.effect(Effect::ToFramework { session, event: Box::new(event) });
        }
    }

    /// Sends a message to an agent; lost if it is not connected.
    pub(crate) fn tell_agent(&mut self, id: &AgentId, message: from_master::Message) {
        if let Some(session) = self.agent(id).and_then(|a| a.liveness.session) {
            self.send_to_agent(session, message);
        }
    }

    pub(crate) fn send_to_agent(&mut self, session: SessionId, message: from_master::Message) {
        self.effect(Effect::ToAgent { session, message: Box::new(message) });
    }

    /// Tells an agent that it is not wanted, and hangs up.
    pub(crate) fn send_away(&mut self, session: SessionId, message: String) {
        self.reject(Rejection::new(Code::PermissionDenied, message.clone()));
        self.send_to_agent(session, from_master::Message::Shutdown(v1::link::Shutdown { message }));
        self.effect(Effect::CloseAgent(session));
    }

    pub(crate) fn persist(&mut self, write: Write, after: AfterWrite) {
        self.cluster.next.write += 1;
        let id = WriteId(self.cluster.next.write);
        self.cluster.writes.insert(id, after);
        self.effect(Effect::Persist(id, write));
    }

    pub(crate) fn publish(&mut self, event: v1::master::Event) {
        self.effect(Effect::Publish(Box::new(event)));
    }

    /// Ends an offer: takes it out of the books and gives back its resources to its agent. What the
    /// allocator is told is the caller's affair. None if it has ended already.
    pub(crate) fn take_offer(&mut self, id: &OfferId) -> Option<Arc<Offer>> {
        let offer = self.books().offers.remove(id)?;
        if let Some(framework) = self.framework_mut(&offer.framework) {
            framework.offers.remove(id);
        }
        if let Some(agent) = self.agent_mut(&offer.agent) {
            agent.offers.remove(id);
            agent.available += &offer.resources.unallocate();
        }
        Some(offer)
    }

    /// Ends an offer, tells the allocator, and the framework if it is to know.
    pub(crate) fn discard_offer(&mut self, id: &OfferId, rescind: bool) {
        let Some(offer) = self.take_offer(id) else { return };
        self.recovered(&offer.framework, &offer.role, &offer.agent, &offer.resources, None);
        if rescind {
            self.books().counts.offers_rescinded += 1;
            self.tell_framework(&offer.framework, crate::events::rescind(&offer.id));
        }
    }
}
