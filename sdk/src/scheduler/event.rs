//! What a scheduler hears.

use bytes::Bytes;
use mezzo_proto::v1;
use mezzo_proto::v1::scheduler::event::{Failure, Subscribed, Type};

/// One thing that the master said, or that became of the connection.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The master knows this framework.
    Subscribed(Box<Subscribed>),
    /// The master knows it again after the connection was lost. All earlier offers are void.
    Reregistered(Box<Subscribed>),
    /// Resources to accept or decline.
    Offers(Vec<v1::Offer>),
    /// Resources that the operator would like to have back.
    InverseOffers(Vec<v1::InverseOffer>),
    /// This offer is no longer valid.
    Rescinded(v1::OfferId),
    /// This inverse offer is no longer valid.
    InverseOfferRescinded(v1::OfferId),
    /// A task has a new state, or its state was asked for.
    Update(Box<v1::TaskStatus>),
    /// An operation has a new state, or its state was asked for.
    OperationUpdate(Box<v1::OperationStatus>),
    /// An executor says something.
    Message {
        /// Where the executor runs.
        agent_id: v1::AgentId,
        /// Which one it is.
        executor_id: v1::ExecutorId,
        /// What it says.
        data: Bytes,
    },
    /// An executor ended, or, without an executor, an agent is lost.
    Failure(Failure),
    /// The connection broke; it is being tried again. All offers are void.
    Disconnected,
    /// The master refuses this framework. Nothing follows.
    Error(String),
}

impl Event {
    /// What a message means; nothing for a heartbeat or a message of a newer master.
    pub(crate) fn from_wire(event: v1::scheduler::Event, again: bool) -> Option<Self> {
        Some(match event.r#type() {
            Type::Subscribed => {
                let subscribed = Box::new(event.subscribed?);
                if again { Self::Reregistered(subscribed) } else { Self::Subscribed(subscribed) }
            }
            Type::Offers => Self::Offers(event.offers?.offers),
            Type::InverseOffers => Self::InverseOffers(event.inverse_offers?.inverse_offers),
            Type::Rescind => Self::Rescinded(event.rescind?.offer_id),
            Type::RescindInverseOffer => {
                Self::InverseOfferRescinded(event.rescind_inverse_offer?.inverse_offer_id)
            }
            Type::Update => Self::Update(Box::new(event.update?.status)),
            Type::UpdateOperationStatus => {
                Self::OperationUpdate(Box::new(event.update_operation_status?.status))
            }
            Type::Message => {
                let message = event.message?;
                Self::Message {
                    agent_id: message.agent_id,
                    executor_id: message.executor_id,
                    data: message.data,
                }
            }
            Type::Failure => Self::Failure(event.failure?),
            Type::Error => Self::Error(event.error?.message),
            Type::Heartbeat | Type::Unknown => return None,
        })
    }
}
