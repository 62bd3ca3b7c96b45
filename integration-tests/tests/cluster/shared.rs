//! One cluster for the tests of one file: started by the first, gone after the last.

use std::sync::{Arc, Weak};

use mezzo_integration_tests::{Builder, Cluster};
use tokio::sync::Mutex;

/// The cluster of one file, while a test of it runs.
pub(crate) struct Shared(Mutex<Weak<Cluster>>);

impl Shared {
    pub(crate) const fn new() -> Self {
        Self(Mutex::const_new(Weak::new()))
    }

    /// The cluster that another test holds, or a new one.
    pub(crate) async fn get(&self, builder: Builder) -> anyhow::Result<Arc<Cluster>> {
        let mut shared = self.0.lock().await;
        if let Some(cluster) = shared.upgrade() {
            return Ok(cluster);
        }
        let cluster = Arc::new(builder.start().await?);
        *shared = Arc::downgrade(&cluster);
        Ok(cluster)
    }
}
