//! `MasterService`: operators and their tools.
//!
//! Reads work on a snapshot, on a thread that may take its time, so that a large answer delays
//! nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mezzo_master_core::{Books, Command, Rejection, ReplyTo};
use mezzo_model::{FrameworkId, TaskId};
use mezzo_module_host::Modules;
use mezzo_proto::v1;
use mezzo_proto::v1::master::master_service_server::MasterService;
use mezzo_proto::v1::master::response::{
    GetAgents, GetExecutors, GetFlags, GetFrameworks, GetHealth, GetLoggingLevel,
    GetMaintenanceSchedule, GetMaintenanceStatus, GetMaster, GetMetrics, GetOperations, GetQuota,
    GetRoles, GetState, GetTasks, GetVersion, GetWeights, ListFiles, ReadFile,
};
use mezzo_proto::v1::master::{Event, KillTaskRequest, call, event};
use mezzo_runtime::metrics::Metrics;
use tonic::{Request, Response, Status};

use super::stream::{Events, OnEnd};
use super::unavailable::unavailable;
use crate::actor::Handle;
use crate::metrics::Readings;
use crate::sessions::Sessions;

/// What the answers are made of beside the books.
pub(crate) struct Facts {
    pub(crate) flags: BTreeMap<String, String>,
    pub(crate) master_info: v1::MasterInfo,
    /// Seconds since the epoch.
    pub(crate) started: f64,
    pub(crate) heartbeat: Duration,
}

pub(crate) struct Service {
    pub(crate) actor: Handle,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) modules: Arc<Modules>,
    pub(crate) metrics: Metrics,
    pub(crate) readings: Arc<Readings>,
    pub(crate) facts: Facts,
}

type Answer<T> = Result<Response<T>, Status>;

impl Service {
    /// Reads the cluster away from the threads that serve calls.
    async fn read<T: Send + 'static>(&self, view: fn(&Books) -> T) -> Answer<T> {
        let books = self.actor.snapshot().await?;
        tokio::task::spawn_blocking(move || view(&books))
            .await
            .map(Response::new)
            .map_err(|_| Status::internal("the state could not be put together"))
    }

    /// Sends a command and waits for its outcome.
    async fn ask(&self, command: impl FnOnce(ReplyTo) -> Command) -> Answer<()> {
        let (reply, wait) = self.sessions.open_caller();
        self.actor.send(command(reply)).await?;
        let outcome: Result<(), Rejection> =
            wait.await.map_err(|_| Status::unavailable("the master is shutting down"))?;
        outcome.map(Response::new).map_err(super::status)
    }
}

/// Version of this build, as clients of Mesos want it: digits and dots.
pub(crate) fn version() -> v1::VersionInfo {
    v1::VersionInfo { version: env!("CARGO_PKG_VERSION").to_owned(), ..v1::VersionInfo::default() }
}

fn beat() -> Event {
    Event { r#type: Some(event::Type::Heartbeat.into()), ..Event::default() }
}

#[tonic::async_trait]
impl MasterService for Service {
    type WatchEventsStream =
        std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<Event, Status>> + Send + 'static>>;

    async fn get_health(&self, _: Request<()>) -> Answer<GetHealth> {
        Ok(Response::new(GetHealth { healthy: true }))
    }

    async fn get_flags(&self, _: Request<()>) -> Answer<GetFlags> {
        let flag = |(name, value): (&String, &String)| v1::Flag {
            name: name.clone(),
            value: Some(value.clone()),
        };
        Ok(Response::new(GetFlags { flags: self.facts.flags.iter().map(flag).collect() }))
    }

    async fn get_version(&self, _: Request<()>) -> Answer<GetVersion> {
        Ok(Response::new(GetVersion { version_info: version() }))
    }

    async fn get_metrics(&self, _: Request<call::GetMetrics>) -> Answer<GetMetrics> {
        self.readings.read(&self.actor.snapshot().await?);
        let metrics = self
            .metrics
            .samples()
            .into_iter()
            .map(|(name, value)| v1::Metric { name, value: Some(value) });
        Ok(Response::new(GetMetrics { metrics: metrics.collect() }))
    }

    async fn get_master(&self, _: Request<()>) -> Answer<GetMaster> {
        Ok(Response::new(GetMaster {
            master_info: Some(self.facts.master_info.clone()),
            start_time: Some(self.facts.started),
            elected_time: Some(self.facts.started),
        }))
    }

    async fn get_modules(&self, _: Request<()>) -> Answer<v1::GetModulesResponse> {
        Ok(Response::new(v1::GetModulesResponse { modules: self.modules.status() }))
    }

    async fn get_state(&self, _: Request<()>) -> Answer<GetState> {
        self.read(Books::get_state).await
    }

    async fn get_agents(&self, _: Request<()>) -> Answer<GetAgents> {
        self.read(Books::get_agents).await
    }

    async fn get_frameworks(&self, _: Request<()>) -> Answer<GetFrameworks> {
        self.read(Books::get_frameworks).await
    }

    async fn get_executors(&self, _: Request<()>) -> Answer<GetExecutors> {
        self.read(Books::get_executors).await
    }

    async fn get_tasks(&self, _: Request<()>) -> Answer<GetTasks> {
        self.read(Books::get_tasks).await
    }

    async fn get_roles(&self, _: Request<()>) -> Answer<GetRoles> {
        self.read(Books::get_roles).await
    }

    async fn watch_events(&self, _: Request<()>) -> Answer<Self::WatchEventsStream> {
        // Opened before the snapshot is taken, so that no change falls between the two. One that
        // is in both is told twice; none is missed.
        let (session, queue) = self.sessions.open_watcher();
        let sessions = Arc::clone(&self.sessions);
        let end = OnEnd::new(self.actor.clone(), None, move || sessions.close_watcher(session));
        let events = Events::new(queue, end).heartbeats(self.facts.heartbeat, beat);
        let state = self.read(Books::get_state).await?.into_inner();
        let first = Event {
            r#type: Some(event::Type::Subscribed.into()),
            subscribed: Some(event::Subscribed {
                get_state: Some(state),
                heartbeat_interval_seconds: Some(self.facts.heartbeat.as_secs_f64()),
            }),
            ..Event::default()
        };
        let first = futures_util::stream::iter([Ok(first), Ok(beat())]);
        Ok(Response::new(Box::pin(futures_util::StreamExt::chain(first, events))))
    }

    async fn teardown(&self, request: Request<call::Teardown>) -> Answer<()> {
        let framework = FrameworkId::new(&request.into_inner().framework_id.value);
        self.ask(|reply| Command::Teardown { framework, reply }).await
    }

    async fn kill_task(&self, request: Request<KillTaskRequest>) -> Answer<()> {
        let request = request.into_inner();
        let framework = request.framework_id.map(|id| FrameworkId::new(&id.value));
        let task = TaskId::new(&request.task_id.value);
        self.ask(|reply| Command::KillTask { framework, task, reply }).await
    }

    unavailable! {
        get_logging_level(()) -> GetLoggingLevel;
        set_logging_level(call::SetLoggingLevel) -> ();
        list_files(call::ListFiles) -> ListFiles;
        read_file(call::ReadFile) -> ReadFile;
        get_operations(()) -> GetOperations;
        get_weights(()) -> GetWeights;
        update_weights(call::UpdateWeights) -> ();
        get_quota(()) -> GetQuota;
        update_quota(call::UpdateQuota) -> ();
        reserve_resources(call::ReserveResources) -> ();
        unreserve_resources(call::UnreserveResources) -> ();
        create_volumes(call::CreateVolumes) -> ();
        destroy_volumes(call::DestroyVolumes) -> ();
        grow_volume(call::GrowVolume) -> ();
        shrink_volume(call::ShrinkVolume) -> ();
        drain_agent(call::DrainAgent) -> ();
        deactivate_agent(call::DeactivateAgent) -> ();
        reactivate_agent(call::ReactivateAgent) -> ();
        mark_agent_gone(call::MarkAgentGone) -> ();
        get_maintenance_status(()) -> GetMaintenanceStatus;
        get_maintenance_schedule(()) -> GetMaintenanceSchedule;
        update_maintenance_schedule(call::UpdateMaintenanceSchedule) -> ();
        start_maintenance(call::StartMaintenance) -> ();
        stop_maintenance(call::StopMaintenance) -> ();
    }
}
