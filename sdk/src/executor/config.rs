//! What an agent tells an executor through its environment.

use std::path::PathBuf;
use std::time::Duration;

use mezzo_proto::v1;

/// Where the agent is, who this executor is, and how patient it should be.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// `host:port` of the agent (`MESOS_AGENT_ENDPOINT`).
    pub agent_endpoint: String,
    /// The framework whose tasks this executor runs (`MESOS_FRAMEWORK_ID`).
    pub framework_id: v1::FrameworkId,
    /// This executor (`MESOS_EXECUTOR_ID`).
    pub executor_id: v1::ExecutorId,
    /// The sandbox as this process sees it (`MESOS_SANDBOX`, else `MESOS_DIRECTORY`).
    pub sandbox: Option<PathBuf>,
    /// Whether the framework checkpoints: if so, a lost agent is waited for, else it is the end
    /// (`MESOS_CHECKPOINT`).
    pub checkpoint: bool,
    /// How long a checkpointing executor waits for its agent to come back
    /// (`MESOS_RECOVERY_TIMEOUT`).
    pub recovery_timeout: Duration,
    /// The longest pause between two attempts to subscribe again
    /// (`MESOS_SUBSCRIPTION_BACKOFF_MAX`).
    pub subscription_backoff_max: Duration,
    /// How long the agent waits between asking this executor to shut down and killing it
    /// (`MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD`).
    pub shutdown_grace_period: Duration,
}

/// Why the environment does not describe an executor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// A variable is missing: this process was not started by an agent.
    #[error("{0} is not set: an executor is started by an agent, which sets it")]
    Missing(&'static str),
    /// A variable cannot be read.
    #[error("{name} is '{value}', expected {expected}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
}

impl Config {
    /// A configuration with Mesos' defaults for everything but who and where.
    #[must_use]
    pub fn new(
        agent_endpoint: impl Into<String>,
        framework_id: impl Into<v1::FrameworkId>,
        executor_id: impl Into<v1::ExecutorId>,
    ) -> Self {
        Self {
            agent_endpoint: agent_endpoint.into(),
            framework_id: framework_id.into(),
            executor_id: executor_id.into(),
            sandbox: None,
            checkpoint: false,
            recovery_timeout: Duration::from_secs(15 * 60),
            subscription_backoff_max: Duration::from_secs(2),
            shutdown_grace_period: Duration::from_secs(5),
        }
    }

    /// Reads the variables that the agent sets.
    ///
    /// # Errors
    /// If one that is needed is missing, or one does not hold what it should.
    pub fn from_env() -> Result<Self, EnvironmentError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The same from any source of variables.
    ///
    /// # Errors
    /// As [`Config::from_env`].
    pub fn from_variables(
        get: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, EnvironmentError> {
        let need =
            |name| get(name).filter(|v| !v.is_empty()).ok_or(EnvironmentError::Missing(name));
        let mut config = Self::new(
            need("MESOS_AGENT_ENDPOINT")?,
            v1::FrameworkId { value: need("MESOS_FRAMEWORK_ID")? },
            v1::ExecutorId { value: need("MESOS_EXECUTOR_ID")? },
        );
        config.sandbox = get("MESOS_SANDBOX").or_else(|| get("MESOS_DIRECTORY")).map(PathBuf::from);
        config.checkpoint = match get("MESOS_CHECKPOINT").as_deref() {
            None | Some("" | "0" | "false") => false,
            Some("1" | "true") => true,
            Some(other) => {
                return Err(EnvironmentError::Invalid {
                    name: "MESOS_CHECKPOINT",
                    value: other.to_owned(),
                    expected: "0 or 1",
                });
            }
        };
        let duration = |name, or: Duration| match get(name) {
            None => Ok(or),
            Some(text) => parse_duration(&text).ok_or(EnvironmentError::Invalid {
                name,
                value: text,
                expected: "a duration such as 5secs or 15mins",
            }),
        };
        config.recovery_timeout = duration("MESOS_RECOVERY_TIMEOUT", config.recovery_timeout)?;
        config.subscription_backoff_max =
            duration("MESOS_SUBSCRIPTION_BACKOFF_MAX", config.subscription_backoff_max)?;
        config.shutdown_grace_period =
            duration("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", config.shutdown_grace_period)?;
        Ok(config)
    }
}

/// Mesos' notation: a number and a unit, nothing between them.
fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at_checked(split)?;
    let seconds = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "secs" => 1.0,
        "mins" => 60.0,
        "hrs" => 3_600.0,
        "days" => 86_400.0,
        "weeks" => 604_800.0,
        _ => return None,
    };
    let number: f64 = number.trim().parse().ok()?;
    Duration::try_from_secs_f64(number * seconds).ok()
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test"
)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        let value = match name {
            "MESOS_AGENT_ENDPOINT" => "127.0.0.1:5051",
            "MESOS_FRAMEWORK_ID" => "fw",
            "MESOS_EXECUTOR_ID" => "ex",
            "MESOS_CHECKPOINT" => "1",
            "MESOS_RECOVERY_TIMEOUT" => "15mins",
            "MESOS_SUBSCRIPTION_BACKOFF_MAX" => "1.5secs",
            "MESOS_DIRECTORY" => "/outside",
            "MESOS_SANDBOX" => "/inside",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn the_agents_environment_is_understood() {
        let config = Config::from_variables(variables).unwrap();
        assert_eq!(config.agent_endpoint, "127.0.0.1:5051");
        assert!(config.checkpoint);
        assert_eq!(config.recovery_timeout, Duration::from_secs(900));
        assert_eq!(config.subscription_backoff_max, Duration::from_millis(1500));
        assert_eq!(config.shutdown_grace_period, Duration::from_secs(5));
        assert_eq!(config.sandbox, Some(PathBuf::from("/inside")));
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = Config::from_variables(|_| None).unwrap_err();
        assert_eq!(error, EnvironmentError::Missing("MESOS_AGENT_ENDPOINT"));
    }

    #[test]
    fn a_wrong_duration_is_named_with_its_value() {
        let error = Config::from_variables(|name| match name {
            "MESOS_RECOVERY_TIMEOUT" => Some("soon".into()),
            other => variables(other),
        })
        .unwrap_err();
        assert!(error.to_string().contains("MESOS_RECOVERY_TIMEOUT is 'soon'"), "{error}");
    }
}
