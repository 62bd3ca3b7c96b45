//! grpc.health.v1: which services are ready, told by whoever knows.

use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

/// Says which services are ready. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
}

impl Health {
    pub(super) fn new() -> (Self, HealthServer<HealthService>) {
        let reporter = HealthReporter::new();
        let service = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        (Self { reporter }, service)
    }

    /// Sets whether a service is ready; the empty name stands for the whole server (and is ready from the start).
    pub async fn set_serving(&self, service: &str, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status(service, status).await;
    }

    /// The server stops: tells everybody who watches.
    pub(super) async fn shut_down(&self) {
        self.set_serving("", false).await;
    }
}
