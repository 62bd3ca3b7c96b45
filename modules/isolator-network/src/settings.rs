//! What the operator chose, out of the parameters.

use std::time::Duration;

use mezzo_model::{Ranges, Value};
use mezzo_module_api::{HostProcess, ModuleError, Parameters};

use crate::book::ports;

/// How often is looked unless the operator says otherwise.
const INTERVAL: Duration = Duration::from_secs(30);

/// The settings of one instance.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// End containers, instead of only telling.
    pub(crate) enforce: bool,
    pub(crate) interval: Duration,
    /// The ports that matter; `None`: all.
    pub(crate) judged: Option<Ranges>,
}

impl Settings {
    pub(crate) fn new(process: &HostProcess, parameters: &Parameters) -> Result<Self, ModuleError> {
        parameters.allow_only(&[
            "enforce_container_ports",
            "container_ports_watch_interval",
            "check_agent_port_range_only",
            "container_ports_isolated_range",
        ])?;
        let agent_only = parameters.parse("check_agent_port_range_only")?.unwrap_or(false);
        let judged = match (agent_only, parameters.get("container_ports_isolated_range")) {
            (true, Some(range)) => {
                return Err(ModuleError::invalid(format!(
                    "parameter `container_ports_isolated_range` is `{range}` while `check_agent_port_range_only` is `true`, \
                     expected only one of them"
                )));
            }
            (true, None) => Some(ports(&process.resources)),
            (false, Some(range)) => Some(parse(range)?),
            (false, None) => None,
        };
        Ok(Self {
            enforce: parameters.parse("enforce_container_ports")?.unwrap_or(false),
            interval: parameters.interval("container_ports_watch_interval")?.unwrap_or(INTERVAL),
            judged,
        })
    }

    /// Whether a container may be blamed for this port at all.
    pub(crate) fn judges(&self, port: u16) -> bool {
        self.judged.as_ref().is_none_or(|judged| judged.contains_number(port.into()))
    }
}

fn parse(text: &str) -> Result<Ranges, ModuleError> {
    let all = Ranges::single(0, u16::MAX.into());
    let value = Value::parse(text).ok();
    let ranges = value.as_ref().and_then(Value::as_ranges).filter(|ranges| all.contains(ranges));
    ranges.cloned().ok_or_else(|| {
        ModuleError::invalid(format!(
            "parameter `container_ports_isolated_range` is `{text}`, expected ranges of ports such as [8000-9000,31000-32000]"
        ))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::book::resource;

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let ports = Ranges::single(31000, 32000);
        let process = HostProcess { resources: vec![resource(&ports)], ..HostProcess::default() };
        Settings::new(&process, &Parameters::from_pairs(pairs)).map_err(|error| error.message)
    }

    #[test]
    fn without_parameters_every_port_is_judged_and_nobody_is_ended() {
        let found = settings(&[]).unwrap();
        assert_eq!(found, Settings { enforce: false, interval: INTERVAL, judged: None });
        assert!(found.judges(0) && found.judges(u16::MAX));
    }

    #[test]
    fn the_judged_ports_are_the_agents_or_those_of_the_range() {
        let found = settings(&[("check_agent_port_range_only", "true")]).unwrap();
        assert!(found.judges(31000) && found.judges(32000) && !found.judges(32001));
        let range = settings(&[("container_ports_isolated_range", "[80-81, 443-443]")]).unwrap();
        assert!(range.judges(81) && range.judges(443) && !range.judges(82));
        let nobody = Settings::new(
            &HostProcess::default(),
            &Parameters::from_pairs(&[("check_agent_port_range_only", "true")]),
        );
        assert!(!nobody.unwrap().judges(31000), "an agent without ports judges none");
    }

    #[test]
    fn wrong_parameters_name_themselves() {
        let both =
            [("check_agent_port_range_only", "true"), ("container_ports_isolated_range", "[1-2]")];
        assert!(settings(&both).unwrap_err().ends_with("expected only one of them"));
        for wrong in ["", "80", "[80", "[90-80]", "[1-65536]", "{a}"] {
            let error = settings(&[("container_ports_isolated_range", wrong)]).unwrap_err();
            assert!(error.contains("expected ranges of ports"), "{wrong}: {error}");
        }
        assert!(settings(&[("container_ports_watch_interval", "0secs")]).is_err());
        assert!(settings(&[("enforce_container_ports", "yes")]).unwrap_err().contains("`yes`"));
        assert!(settings(&[("enforce", "true")]).unwrap_err().starts_with("unknown parameter"));
    }
}
