//! HTTP for machines that watch: is it alive, is it ready, its metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tracing::error;

use crate::admin::Admin;
use crate::cluster::node::NodeState;
use crate::metrics;

#[derive(Clone)]
struct Shared {
    admin: Arc<Admin>,
    metrics: PrometheusHandle,
}

/// Collects the metrics of this process from now on; once a process.
///
/// # Errors
/// When somebody collects them already.
pub fn collect() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    let handle = PrometheusBuilder::new().install_recorder()?;
    metrics::describe();
    Ok(handle)
}

/// Answers for ever.
pub async fn serve(admin: Arc<Admin>, metrics: PrometheusHandle, listener: TcpListener) {
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(tell_metrics))
        .with_state(Shared { admin, metrics });
    if let Err(error) = axum::serve(listener, routes).await {
        error!(%error, "HTTP has ended");
    }
}

/// The process lives and answers.
async fn healthz() -> &'static str {
    "alive\n"
}

/// Whether a load balancer shall send clients here.
async fn readyz(State(shared): State<Shared>) -> (StatusCode, &'static str) {
    let cluster = &shared.admin.cluster;
    let state = cluster.members().get(cluster.me().id).map(|me| me.state);
    match state {
        _ if shared.admin.durable.failing().is_some() => {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready: the store fails\n")
        }
        Some(NodeState::Serving) => (StatusCode::OK, "ready\n"),
        Some(NodeState::Draining) => (StatusCode::SERVICE_UNAVAILABLE, "not ready: draining\n"),
        Some(NodeState::Leaving) => (StatusCode::SERVICE_UNAVAILABLE, "not ready: leaving\n"),
        Some(NodeState::Joining) | None => {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready: joining\n")
        }
    }
}

async fn tell_metrics(State(shared): State<Shared>) -> String {
    shared.metrics.render()
}
