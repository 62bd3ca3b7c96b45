//! The operator API over gRPC.

use std::pin::Pin;
use std::sync::Arc;

use mezzo_proto::v1::agent::agent_service_server::AgentService;
use mezzo_proto::v1::agent::call::{
    AddResourceProviderConfig, AttachContainerInput, AttachContainerOutput, GetContainers,
    GetMetrics, KillContainer, LaunchContainer, LaunchNestedContainerSession, ListFiles,
    MarkResourceProviderGone, PruneImages, ReadFile, RemoveContainer, RemoveResourceProviderConfig,
    SetLoggingLevel, UpdateResourceProviderConfig, WaitContainer,
};
use mezzo_proto::v1::agent::{ProcessIo, response};
use mezzo_proto::v1::{Flag, GetModulesResponse, Metric, VersionInfo};
use mezzo_runtime::status::{ErrorCode, Failure};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Facade;

/// The service.
pub(crate) struct Operators(pub(crate) Arc<Facade>);

type Answer<T> = Result<Response<T>, Status>;
type Later<'a, T> = Pin<Box<dyn Future<Output = Answer<T>> + Send + 'a>>;
type ProcessStream = ReceiverStream<Result<ProcessIo, Status>>;

/// An answer to a call that an agent will have, and has not.
fn not_yet<T>(call: &str) -> Answer<T> {
    let message = format!("{call} is not available yet: this agent does not do that");
    Err(Failure::new(ErrorCode::Unimplemented, message).into_status())
}

macro_rules! not_yet {
    ($($method:ident, $call:literal, $request:ty => $response:ty;)*) => {
        $(
            // Spelled out, since the attribute on the impl does not see into macros.
            fn $method<'life0, 'async_trait>(&'life0 self, _request: Request<$request>) -> Later<'async_trait, $response>
            where
                'life0: 'async_trait,
            {
                Box::pin(std::future::ready(not_yet($call)))
            }
        )*
    };
}

#[tonic::async_trait]
impl AgentService for Operators {
    async fn get_health(&self, _request: Request<()>) -> Answer<response::GetHealth> {
        Ok(Response::new(response::GetHealth { healthy: true }))
    }

    async fn get_flags(&self, _request: Request<()>) -> Answer<response::GetFlags> {
        let flags = self
            .0
            .flags
            .iter()
            .map(|(name, value)| Flag { name: name.clone(), value: Some(value.clone()) });
        Ok(Response::new(response::GetFlags { flags: flags.collect() }))
    }

    async fn get_version(&self, _request: Request<()>) -> Answer<response::GetVersion> {
        let version_info =
            VersionInfo { version: env!("CARGO_PKG_VERSION").to_owned(), ..VersionInfo::default() };
        Ok(Response::new(response::GetVersion { version_info }))
    }

    async fn get_metrics(&self, _request: Request<GetMetrics>) -> Answer<response::GetMetrics> {
        let metrics = metrics(&self.0.metrics.text());
        Ok(Response::new(response::GetMetrics { metrics }))
    }

    async fn get_agent(&self, _request: Request<()>) -> Answer<response::GetAgent> {
        let answer = self.0.look(mezzo_agent_core::Agent::get_agent).await;
        answer.map(Response::new).map_err(Failure::into_status)
    }

    async fn get_modules(&self, _request: Request<()>) -> Answer<GetModulesResponse> {
        Ok(Response::new(GetModulesResponse { modules: self.0.modules.status() }))
    }

    async fn get_state(&self, _request: Request<()>) -> Answer<response::GetState> {
        let answer = self.0.look(mezzo_agent_core::Agent::get_state).await;
        answer.map(Response::new).map_err(Failure::into_status)
    }

    async fn get_containers(
        &self,
        _request: Request<GetContainers>,
    ) -> Answer<response::GetContainers> {
        self.0.get_containers().await.map(Response::new).map_err(Failure::into_status)
    }

    async fn get_frameworks(&self, _request: Request<()>) -> Answer<response::GetFrameworks> {
        let answer = self.0.look(mezzo_agent_core::Agent::get_frameworks).await;
        answer.map(Response::new).map_err(Failure::into_status)
    }

    async fn get_executors(&self, _request: Request<()>) -> Answer<response::GetExecutors> {
        let answer = self.0.look(mezzo_agent_core::Agent::get_executors).await;
        answer.map(Response::new).map_err(Failure::into_status)
    }

    async fn get_tasks(&self, _request: Request<()>) -> Answer<response::GetTasks> {
        let answer = self.0.look(mezzo_agent_core::Agent::get_tasks).await;
        answer.map(Response::new).map_err(Failure::into_status)
    }

    async fn list_files(&self, request: Request<ListFiles>) -> Answer<response::ListFiles> {
        let path = request.into_inner().path;
        self.0.list_files(path).await.map(Response::new).map_err(Failure::into_status)
    }

    async fn read_file(&self, request: Request<ReadFile>) -> Answer<response::ReadFile> {
        let ReadFile { path, offset, length } = request.into_inner();
        self.0
            .read_file(path, offset, length)
            .await
            .map(Response::new)
            .map_err(Failure::into_status)
    }

    type LaunchNestedContainerSessionStream = ProcessStream;
    type AttachContainerOutputStream = ProcessStream;

    not_yet! {
        get_logging_level, "GetLoggingLevel", () => response::GetLoggingLevel;
        set_logging_level, "SetLoggingLevel", SetLoggingLevel => ();
        get_operations, "GetOperations", () => response::GetOperations;
        get_resource_providers, "GetResourceProviders", () => response::GetResourceProviders;
        launch_container, "LaunchContainer", LaunchContainer => ();
        wait_container, "WaitContainer", WaitContainer => response::WaitContainer;
        kill_container, "KillContainer", KillContainer => ();
        remove_container, "RemoveContainer", RemoveContainer => ();
        launch_nested_container_session, "LaunchNestedContainerSession", LaunchNestedContainerSession => ProcessStream;
        attach_container_input, "AttachContainerInput", Streaming<AttachContainerInput> => ();
        attach_container_output, "AttachContainerOutput", AttachContainerOutput => ProcessStream;
        add_resource_provider_config, "AddResourceProviderConfig", AddResourceProviderConfig => ();
        update_resource_provider_config, "UpdateResourceProviderConfig", UpdateResourceProviderConfig => ();
        remove_resource_provider_config, "RemoveResourceProviderConfig", RemoveResourceProviderConfig => ();
        mark_resource_provider_gone, "MarkResourceProviderGone", MarkResourceProviderGone => ();
        prune_images, "PruneImages", PruneImages => ();
    }
}

/// The lines of the metrics text that are numbers.
fn metrics(text: &str) -> Vec<Metric> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some(Metric { name: name.to_owned(), value: Some(value.parse().ok()?) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::metrics;

    #[test]
    fn metrics_are_the_lines_with_numbers() {
        let text = "# HELP a b\na{x=\"y z\"} 1\nb 2.5\n# EOF\n";
        let read: Vec<_> = metrics(text).into_iter().map(|m| (m.name, m.value)).collect();
        assert_eq!(read, [("a{x=\"y z\"}".to_owned(), Some(1.0)), ("b".to_owned(), Some(2.5))]);
    }
}
