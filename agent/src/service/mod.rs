//! What operators ask an agent: gRPC in `rpc`, plain HTTP in `web`; the answers are the same.

mod files;
mod rpc;
mod statistics;
mod web;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mezzo_agent_core::Agent;
use mezzo_containerizer::Containerizer;
use mezzo_module_host::Modules;
use mezzo_runtime::metrics::Metrics;
use mezzo_runtime::status::{ErrorCode, Failure};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::actor::Handle;
use crate::start::AgentIdKnown;
use crate::store::Layout;

pub(crate) use rpc::Operators;
pub(crate) use web::http;

/// Everything that answers come from.
pub(crate) struct Facade {
    pub(crate) actor: Handle,
    pub(crate) containerizer: Arc<dyn Containerizer>,
    pub(crate) layout: Layout,
    pub(crate) agent: AgentIdKnown,
    pub(crate) flags: BTreeMap<String, String>,
    pub(crate) modules: Arc<Modules>,
    pub(crate) metrics: Metrics,
    pub(crate) pace: Pace,
}

impl Facade {
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Agent) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let answer = self.actor.look(look).await;
        answer.ok_or_else(|| Failure::new(ErrorCode::Unavailable, "the agent is stopping"))
    }
}

/// Lets two callers a second through; more wait for their turn. Collecting statistics reads many files.
#[derive(Default)]
pub(crate) struct Pace {
    last: Mutex<Option<Instant>>,
}

impl Pace {
    const APART: Duration = Duration::from_millis(500);

    async fn turn(&self) {
        let mut last = self.last.lock().await;
        if let Some(last) = *last {
            tokio::time::sleep_until(last + Self::APART).await;
        }
        *last = Some(Instant::now());
    }
}
