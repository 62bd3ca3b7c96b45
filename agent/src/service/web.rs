//! Plain HTTP: what Mesos tools read.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use mezzo_runtime::status::Failure;
use serde_json::Value;

use super::Facade;

/// The routes.
pub(crate) fn http(facade: Arc<Facade>) -> Router {
    Router::new()
        .route("/monitor/statistics", get(statistics))
        .route("/containers", get(containers))
        .with_state(facade)
}

async fn statistics(State(facade): State<Arc<Facade>>) -> Response {
    answer(facade.statistics_json().await)
}

async fn containers(State(facade): State<Arc<Facade>>) -> Response {
    answer(facade.containers_json().await)
}

fn answer(outcome: Result<Value, Failure>) -> Response {
    match outcome {
        Ok(value) => Json(value).into_response(),
        Err(error) => (error.code().http(), error.message().to_owned()).into_response(),
    }
}
