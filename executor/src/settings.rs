//! What the agent tells an executor through its environment.

use std::collections::BTreeMap;
use std::time::Duration;

/// Variables for the task alone, as a JSON object; the containerizer sets it, the task never sees it.
pub(crate) const TASK_ENVIRONMENT: &str = "MEZZO_TASK_ENVIRONMENT";

/// The executor's settings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Where the agent listens, `ip:port`.
    pub(crate) agent_endpoint: String,
    pub(crate) framework_id: String,
    pub(crate) executor_id: String,
    pub(crate) agent_id: Option<String>,
    /// How long to wait for an agent that went away; none = do not wait.
    pub(crate) recovery_timeout: Option<Duration>,
    /// The longest pause between two attempts to subscribe.
    pub(crate) backoff_max: Duration,
    /// How long the agent waits after SHUTDOWN before it destroys the container.
    pub(crate) shutdown_grace: Duration,
    /// From isolators and hooks, for the task alone.
    pub(crate) task_environment: BTreeMap<String, String>,
}

impl Settings {
    /// Reads them from variables, which `get` looks up.
    pub(crate) fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let required = |name: &str| {
            get(name).filter(|v| !v.is_empty()).ok_or_else(|| {
                format!("{name} is not set; an executor is started by an agent, which sets it")
            })
        };
        let duration = |name: &str, default: Duration| match get(name) {
            None => Ok(default),
            Some(text) => parse_duration(&text).ok_or_else(|| {
                format!(
                    "{name}='{text}' is not a duration; expected a number and a unit, such as 5secs"
                )
            }),
        };
        let checkpoint = get("MESOS_CHECKPOINT").is_some_and(|v| v == "1");
        let recovery = duration("MESOS_RECOVERY_TIMEOUT", Duration::from_secs(15 * 60))?;
        let task_environment = match get(TASK_ENVIRONMENT) {
            None => BTreeMap::new(),
            Some(text) => serde_json::from_str(&text)
                .map_err(|e| format!("{TASK_ENVIRONMENT} is not a JSON object of strings: {e}"))?,
        };
        Ok(Self {
            agent_endpoint: required("MESOS_AGENT_ENDPOINT")?,
            framework_id: required("MESOS_FRAMEWORK_ID")?,
            executor_id: required("MESOS_EXECUTOR_ID")?,
            agent_id: get("MESOS_SLAVE_ID"),
            recovery_timeout: checkpoint.then_some(recovery),
            backoff_max: duration("MESOS_SUBSCRIPTION_BACKOFF_MAX", Duration::from_secs(2))?,
            shutdown_grace: duration(
                "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD",
                Duration::from_secs(5),
            )?,
            task_environment,
        })
    }
}

/// A duration as Mesos writes it: `500ms`, `5secs`, `1.5mins`.
fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at_checked(split)?;
    let seconds = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "secs" => 1.0,
        "mins" => 60.0,
        "hrs" => 3600.0,
        "days" => 86_400.0,
        "weeks" => 604_800.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.trim().parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
        })
    }

    const LEAST: [(&str, &str); 3] = [
        ("MESOS_AGENT_ENDPOINT", "127.0.0.1:5051"),
        ("MESOS_FRAMEWORK_ID", "f"),
        ("MESOS_EXECUTOR_ID", "e"),
    ];

    #[test]
    fn defaults_are_those_of_mesos() {
        let settings = read(&LEAST).unwrap();
        assert_eq!(settings.recovery_timeout, None);
        assert_eq!(settings.backoff_max, Duration::from_secs(2));
        assert_eq!(settings.shutdown_grace, Duration::from_secs(5));
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("15mins"), Some(Duration::from_secs(15 * 60)));
        assert_eq!(parse_duration("1.5secs"), Some(Duration::from_millis(1500)));
        for wrong in ["", "5", "secs", "-1secs", "5 parsecs", "nansecs"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert!(read(&LEAST[..2]).unwrap_err().contains("MESOS_EXECUTOR_ID"));
        let mut variables = LEAST.to_vec();
        variables.push(("MESOS_RECOVERY_TIMEOUT", "soon"));
        assert!(read(&variables).unwrap_err().contains("MESOS_RECOVERY_TIMEOUT='soon'"));
    }

    #[test]
    fn only_a_checkpointing_framework_waits_for_its_agent() {
        let mut variables = LEAST.to_vec();
        variables.extend([("MESOS_CHECKPOINT", "1"), ("MESOS_RECOVERY_TIMEOUT", "10secs")]);
        assert_eq!(read(&variables).unwrap().recovery_timeout, Some(Duration::from_secs(10)));
    }
}
