//! REQUEST: a framework says what it would like to have. The allocator is told; whether it pays heed is its own affair.

use mezzo_model::{FrameworkId, Resources};
use mezzo_proto::module::v1::ResourcesRequested;
use mezzo_proto::module::v1::allocator_event::Event;
use mezzo_proto::v1;

use super::Turn;
use crate::effect::{Code, Rejection};

pub(crate) fn apply(
    turn: &mut Turn<'_>,
    framework: &FrameworkId,
    requests: Vec<v1::Request>,
) -> Result<(), Rejection> {
    for (n, request) in requests.iter().enumerate() {
        let path = format!("request.requests[{n}].resources");
        Resources::from_proto_at(&path, &request.resources)
            .map_err(|error| Rejection::new(Code::InvalidArgument, error.to_string()))?;
    }
    let key = turn.need_framework(framework)?.key;
    if !requests.is_empty() {
        turn.allocator(Event::ResourcesRequested(ResourcesRequested {
            framework: Some(key),
            requests,
        }));
    }
    Ok(())
}
