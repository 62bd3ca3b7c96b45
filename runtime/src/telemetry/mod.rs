//! Logs and traces: people read stderr, machines get OTLP when an endpoint is configured.
//!
//! Off means off: without an endpoint no OpenTelemetry layer is installed, so spans cost what `tracing` alone costs.

mod panics;

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

pub(crate) use panics::last_panic_of_this_thread;

/// Environment variable with a `tracing` filter such as `info,mezzo_master=debug`; it wins over `--logging_level`.
pub const LOG_FILTER_VARIABLE: &str = "MEZZO_LOG";

/// The variable by which any OpenTelemetry program is told where to send.
const OTLP_ENDPOINT_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Longest wait for the last spans when the process ends.
const FLUSH_DEADLINE: Duration = Duration::from_secs(3);

/// The flags about telemetry; put them into the flags of a process with `#[command(flatten)]`.
#[derive(Clone, Debug, Args)]
pub struct TelemetryFlags {
    /// Log only messages of this level and above (the variable MEZZO_LOG takes a finer filter and wins).
    #[arg(long, default_value = "INFO", value_parser = ["DEBUG", "INFO", "WARNING", "ERROR"])]
    pub logging_level: String,
    /// Log nothing to stderr.
    #[arg(long)]
    pub quiet: bool,
    /// How a log line looks: text for people, json for machines.
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub log_format: String,
    /// Send traces to this OpenTelemetry collector by OTLP/gRPC, such as http://127.0.0.1:4317. Off unless given
    /// (here or in OTEL_EXPORTER_OTLP_ENDPOINT).
    #[arg(long)]
    pub otlp_endpoint: Option<String>,
}

impl Default for TelemetryFlags {
    fn default() -> Self {
        Self {
            logging_level: "INFO".to_owned(),
            quiet: false,
            log_format: "text".to_owned(),
            otlp_endpoint: None,
        }
    }
}

impl TelemetryFlags {
    fn level(&self) -> LevelFilter {
        match self.logging_level.as_str() {
            "DEBUG" => LevelFilter::DEBUG,
            "WARNING" => LevelFilter::WARN,
            "ERROR" => LevelFilter::ERROR,
            _ => LevelFilter::INFO,
        }
    }

    fn endpoint(&self) -> Option<String> {
        let given = self.otlp_endpoint.clone();
        given
            .or_else(|| std::env::var(OTLP_ENDPOINT_VARIABLE).ok())
            .filter(|endpoint| !endpoint.trim().is_empty())
    }
}

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The log filter is wrong.
    #[error(
        "{LOG_FILTER_VARIABLE}: got {value:?}, expected a filter such as info,mezzo_master=debug"
    )]
    Filter {
        /// As it was written.
        value: String,
        /// Why not.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The collector's address is wrong.
    #[error("flag --otlp_endpoint: got {endpoint:?}, expected a URL such as http://127.0.0.1:4317")]
    Endpoint {
        /// As it was written.
        endpoint: String,
        /// Why not.
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// There is a subscriber already.
    #[error("telemetry was set up twice in one process")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// What must live as long as the process, and be [finished](Telemetry::finish) at its end.
#[derive(Debug)]
#[must_use = "spans are lost unless this is finished at the end of the process"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Sets up logs, the panic log and, when configured, traces. Call once, inside the tokio runtime.
///
/// # Errors
/// The filter or the endpoint is wrong, or telemetry exists already.
pub fn init(service: &'static str, flags: &TelemetryFlags) -> Result<Telemetry, TelemetryError> {
    let provider = match flags.endpoint() {
        Some(endpoint) => Some(provider(service, endpoint)?),
        None => None,
    };
    let traces = provider.as_ref().map(|provider| {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(service))
            .with_filter(LevelFilter::INFO)
    });
    let logs = (!flags.quiet).then(|| {
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        if flags.log_format == "json" {
            layer.json().flatten_event(true).boxed()
        } else {
            layer.with_target(false).compact().boxed()
        }
    });
    tracing_subscriber::registry()
        .with(traces)
        .with(logs.with_filter(filter(flags)?))
        .try_init()
        .map_err(TelemetryError::Twice)?;
    panics::log_panics();
    Ok(Telemetry { provider })
}

impl Telemetry {
    /// Sends what was not sent yet; waits a few seconds at most.
    pub async fn finish(self) {
        let Some(provider) = self.provider else {
            return;
        };
        let flushed =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_DEADLINE));
        match flushed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("the last spans were not sent: {error}"),
            Err(error) => tracing::warn!("the last spans were not sent: {error}"),
        }
    }
}

fn filter(flags: &TelemetryFlags) -> Result<EnvFilter, TelemetryError> {
    match std::env::var(LOG_FILTER_VARIABLE) {
        Ok(value) if !value.trim().is_empty() => {
            EnvFilter::try_new(&value).map_err(|source| TelemetryError::Filter { value, source })
        }
        _ => Ok(EnvFilter::default().add_directive(flags.level().into())),
    }
}

fn provider(service: &'static str, endpoint: String) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&endpoint)
        .build()
        .map_err(|source| TelemetryError::Endpoint { endpoint, source })?;
    let resource = Resource::builder().with_service_name(service).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
