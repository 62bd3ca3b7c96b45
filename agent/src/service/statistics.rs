//! What containers use.

use futures_util::future::join_all;
use mezzo_agent_core::ContainerView;
use mezzo_proto::v1::agent::response::{GetContainers, get_containers};
use mezzo_proto::v1::{ContainerStatus, ResourceStatistics};
use mezzo_runtime::status::Failure;
use serde_json::{Map, Value};

use super::Facade;

/// A container with what could be collected about it.
struct Seen {
    view: ContainerView,
    status: Option<ContainerStatus>,
    statistics: Option<ResourceStatistics>,
}

impl Facade {
    /// All live containers. What cannot be collected is left out without a word.
    async fn seen(&self, with_status: bool) -> Result<Vec<Seen>, Failure> {
        let views = self.look(mezzo_agent_core::Agent::live_containers).await?;
        Ok(join_all(views.into_iter().map(|view| async {
            let statistics = self.containerizer.usage(&view.container).await.ok();
            let status = match with_status {
                true => self.containerizer.status(&view.container).await.ok(),
                false => None,
            };
            Seen { view, status, statistics }
        }))
        .await)
    }

    pub(crate) async fn get_containers(&self) -> Result<GetContainers, Failure> {
        let containers = self.seen(true).await?.into_iter().map(|seen| get_containers::Container {
            framework_id: Some(seen.view.framework.into()),
            executor_id: Some(seen.view.executor.into()),
            executor_name: Some(seen.view.name),
            container_id: seen.view.container.into(),
            container_status: seen.status,
            resource_statistics: seen.statistics,
        });
        Ok(GetContainers { containers: containers.collect() })
    }

    /// The JSON of `/monitor/statistics`.
    pub(crate) async fn statistics_json(&self) -> Result<Value, Failure> {
        self.pace.turn().await;
        let list = self.seen(false).await?;
        Ok(list
            .into_iter()
            .filter(|seen| seen.statistics.is_some())
            .map(|seen| Value::Object(describe(&seen)))
            .collect())
    }

    /// The JSON of `/containers`.
    pub(crate) async fn containers_json(&self) -> Result<Value, Failure> {
        self.pace.turn().await;
        let all = self.seen(true).await?.into_iter().map(|seen| {
            let mut object = describe(&seen);
            object.insert("container_id".to_owned(), seen.view.container.to_string().into());
            if let Some(status) = seen.status.as_ref().and_then(json) {
                object.insert("status".to_owned(), status);
            }
            Value::Object(object)
        });
        Ok(all.collect())
    }
}

fn describe(seen: &Seen) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("framework_id".to_owned(), seen.view.framework.as_str().into());
    object.insert("executor_id".to_owned(), seen.view.executor.as_str().into());
    object.insert("executor_name".to_owned(), seen.view.name.as_str().into());
    object.insert("source".to_owned(), seen.view.source.as_str().into());
    if let Some(statistics) = seen.statistics.as_ref().and_then(json) {
        object.insert("statistics".to_owned(), statistics);
    }
    object
}

fn json<M: prost::Message + prost::Name>(message: &M) -> Option<Value> {
    let text = mezzo_proto::json::to_string(message).ok()?;
    serde_json::from_str(&text).ok()
}
