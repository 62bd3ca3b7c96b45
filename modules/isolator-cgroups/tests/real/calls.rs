//! Calls to an isolator, in short.

use std::sync::mpsc::{self, Receiver};

use mezzo_module_api::v1::{
    CleanupRequest, ContainerConfig, ContainerLimitation, ContainerState, PrepareRequest,
    RecoverRequest, StatusRequest, UpdateRequest, UsageRequest, WatchRequest, WatchResponse,
};
use mezzo_module_api::{Completion, Isolator, ModuleError};
use mezzo_proto::v1::value::Scalar;
use mezzo_proto::v1::{ContainerId, ContainerStatus, Resource, ResourceStatistics};

pub(crate) fn id(value: &str) -> ContainerId {
    ContainerId { value: value.to_owned(), parent: None }
}

pub(crate) fn scalar(name: &str, value: f64) -> Resource {
    Resource { name: name.into(), scalar: Some(Scalar { value }), ..Resource::default() }
}

pub(crate) fn config(cpus: f64, mem: f64, limits: &[(&str, f64)]) -> ContainerConfig {
    asking(vec![scalar("cpus", cpus), scalar("mem", mem)], limits)
}

pub(crate) fn asking(resources: Vec<Resource>, limits: &[(&str, f64)]) -> ContainerConfig {
    ContainerConfig {
        resources,
        limits: limits
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Scalar { value: *value }))
            .collect(),
        ..ContainerConfig::default()
    }
}

pub(crate) fn prepare(
    isolator: &dyn Isolator,
    container: &str,
    config: ContainerConfig,
) -> Result<(), ModuleError> {
    let request = PrepareRequest { container_id: Some(id(container)), config: Some(config) };
    isolator.prepare(request).map(drop)
}

pub(crate) fn update(
    isolator: &dyn Isolator,
    container: &str,
    config: &ContainerConfig,
) -> Result<(), ModuleError> {
    let (requests, limits) = (config.resources.clone(), config.limits.clone());
    isolator.update(UpdateRequest { container_id: Some(id(container)), requests, limits }).map(drop)
}

pub(crate) fn recover(isolator: &dyn Isolator, container: &str) {
    let state = ContainerState { container_id: id(container), ..ContainerState::default() };
    isolator.recover(RecoverRequest { states: vec![state], orphans: vec![] }).unwrap();
}

pub(crate) fn usage(isolator: &dyn Isolator, container: &str) -> ResourceStatistics {
    isolator.usage(UsageRequest { container_id: Some(id(container)) }).unwrap().statistics.unwrap()
}

pub(crate) fn status(isolator: &dyn Isolator, container: &str) -> ContainerStatus {
    isolator.status(StatusRequest { container_id: Some(id(container)) }).unwrap().status.unwrap()
}

pub(crate) fn cleanup(isolator: &dyn Isolator, container: &str) {
    isolator.cleanup(CleanupRequest { container_id: Some(id(container)) }).unwrap();
}

pub(crate) fn watch(
    isolator: &dyn Isolator,
    container: &str,
) -> Receiver<Result<ContainerLimitation, ModuleError>> {
    let (sender, receiver) = mpsc::channel();
    let done = Completion::new(move |result: Result<WatchResponse, ModuleError>| {
        let _ = sender.send(result.map(|response| response.limitation.unwrap()));
    });
    isolator.watch(WatchRequest { container_id: Some(id(container)) }, done);
    receiver
}
