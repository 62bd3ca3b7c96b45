//! The parameters, read and checked.

use std::collections::BTreeMap;
use std::time::Duration;

use mezzo_linux::procfs::Procfs;
use mezzo_module_api::types::Resource;
use mezzo_module_api::types::value::Scalar;
use mezzo_module_api::{Host, ModuleError, Parameters, megabytes_to_bytes};

use crate::measure::{
    CommandMeasurer, ProcfsMeasurer, Program, SmapsMeasurer, SmapsRule, TreeMeasurer,
};
use crate::monitor::Limits;
use crate::report::size;

const KNOWN: &[&str] = &[
    "interval",
    "measure",
    "measure_timeout",
    "pmem_check_enabled",
    "smaps_rule",
    "vmem_check_enabled",
    "vmem_pmem_ratio",
];

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// From the end of a round to the next. `None`: there are no rounds.
    pub(crate) interval: Option<Duration>,
    ratio: f64,
    physical: bool,
    virtual_memory: bool,
    measure: Measure,
    measure_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Measure {
    Procfs,
    Smaps(SmapsRule),
    Command(Program),
}

impl Settings {
    pub(crate) fn new(parameters: &Parameters) -> Result<Self, ModuleError> {
        parameters.allow_only(KNOWN)?;
        let rule = parameters.parse("smaps_rule")?;
        let measure = match parameters.get("measure").unwrap_or("procfs") {
            "procfs" => Measure::Procfs,
            "smaps" => Measure::Smaps(rule.unwrap_or_default()),
            other => Measure::Command(program(other)?),
        };
        if rule.is_some() && !matches!(measure, Measure::Smaps(_)) {
            return Err(ModuleError::invalid(
                "parameter `smaps_rule` is only for `measure` = `smaps`",
            ));
        }
        Ok(Self {
            interval: match parameters.duration("interval")? {
                None => Some(Duration::from_secs(3)),
                Some(interval) => Some(interval).filter(|interval| !interval.is_zero()),
            },
            ratio: ratio(parameters)?,
            physical: parameters.parse("pmem_check_enabled")?.unwrap_or(true),
            virtual_memory: parameters.parse("vmem_check_enabled")?.unwrap_or(true),
            measure,
            measure_timeout: parameters
                .interval("measure_timeout")?
                .unwrap_or(Duration::from_secs(1)),
        })
    }

    pub(crate) fn measurer(&self) -> Box<dyn TreeMeasurer> {
        match &self.measure {
            Measure::Procfs => Box::new(ProcfsMeasurer::default()),
            Measure::Smaps(rule) => Box::new(SmapsMeasurer::new(*rule)),
            Measure::Command(program) => {
                Box::new(CommandMeasurer::new(program.clone(), self.measure_timeout))
            }
        }
    }

    /// What a container may have: its limit, else its request, in physical memory; that times the ratio in virtual.
    pub(crate) fn limits(
        &self,
        requests: &[Resource],
        limits: &BTreeMap<String, Scalar>,
    ) -> Limits {
        let mut requested = None;
        for resource in requests.iter().filter(|resource| resource.name == "mem") {
            let value = resource.scalar.as_ref().map_or(0.0, |scalar| scalar.value);
            requested = Some(requested.unwrap_or(0.0) + value);
        }
        let megabytes = limits.get("mem").map(|limit| limit.value).or(requested);
        let Some(megabytes) = megabytes.filter(|megabytes| megabytes.is_finite()) else {
            return Limits::default();
        };
        let physical = megabytes_to_bytes(megabytes);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "bytes of memory are exact in a float; the cast saturates"
        )]
        let virtual_bytes = (physical as f64 * self.ratio) as u64;
        Limits {
            virtual_bytes: self.virtual_memory.then_some(virtual_bytes),
            physical_bytes: self.physical.then_some(physical),
        }
    }

    /// Warns when the containers together may have so much that the host has little left.
    pub(crate) fn warn_of_thrashing(&self, host: &Host, procfs: &Procfs) {
        let Ok(memory) = procfs.meminfo() else { return };
        let for_containers = self.limits(&host.process().resources, &BTreeMap::new());
        let Some(for_containers) = for_containers.physical_bytes else { return };
        if u128::from(for_containers) * 100 > u128::from(memory.total) * 80 {
            host.warn(format!(
                "{} of memory are for containers, more than 80 % of what the host has ({}): it may thrash",
                size(for_containers),
                size(memory.total)
            ));
        }
    }
}

fn ratio(parameters: &Parameters) -> Result<f64, ModuleError> {
    const LEAST: f64 = 0.99;
    let ratio: f64 = parameters.parse("vmem_pmem_ratio")?.unwrap_or(2.1);
    if ratio.is_finite() && ratio > LEAST {
        return Ok(ratio);
    }
    Err(ModuleError::invalid(format!(
        "parameter `vmem_pmem_ratio` is `{}`, expected a number of at least 1",
        parameters.get("vmem_pmem_ratio").unwrap_or_default()
    )))
}

fn program(measure: &str) -> Result<Program, ModuleError> {
    let wrong =
        |why: &str| ModuleError::invalid(format!("parameter `measure` is `{measure}`: {why}"));
    let path = measure
        .strip_prefix("command:")
        .ok_or_else(|| wrong("expected `procfs`, `smaps` or `command:/path/of/a/program`"))?;
    Program::new(path).map_err(|why| wrong(&why))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::new(&Parameters::from_pairs(pairs)).map_err(|error| error.message)
    }

    fn mem(value: f64) -> Resource {
        let scalar = Some(Scalar { value });
        Resource { name: "mem".into(), scalar, ..Resource::default() }
    }

    fn limit(value: f64) -> BTreeMap<String, Scalar> {
        BTreeMap::from([("mem".to_owned(), Scalar { value })])
    }

    #[test]
    fn the_defaults_are_those_of_yarn() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.interval, Some(Duration::from_secs(3)));
        let limits = settings.limits(&[mem(8192.0)], &BTreeMap::new());
        assert_eq!(limits.physical_bytes, Some(8192 << 20));
        assert_eq!(limits.virtual_bytes, Some(18_038_862_643), "a whole number, rounded down");
        assert_eq!(settings.measure, Measure::Procfs);
    }

    #[test]
    fn a_limit_goes_before_the_request_and_infinity_is_none() {
        let settings = settings(&[("vmem_pmem_ratio", "1")]).unwrap();
        let bytes = |limits: Limits| (limits.physical_bytes, limits.virtual_bytes);
        let both = settings.limits(&[mem(10.0), mem(5.0)], &limit(20.0));
        assert_eq!(bytes(both), (Some(20 << 20), Some(20 << 20)));
        let requested = settings.limits(&[mem(10.0), mem(5.0)], &BTreeMap::new());
        assert_eq!(bytes(requested), (Some(15 << 20), Some(15 << 20)));
        assert_eq!(bytes(settings.limits(&[mem(10.0)], &limit(f64::INFINITY))), (None, None));
        assert_eq!(bytes(settings.limits(&[], &BTreeMap::new())), (None, None));
    }

    #[test]
    fn each_check_can_be_left_out() {
        let limits = |pairs| {
            let limits = settings(pairs).unwrap().limits(&[mem(1.0)], &BTreeMap::new());
            (limits.physical_bytes.is_some(), limits.virtual_bytes.is_some())
        };
        assert_eq!(limits(&[("pmem_check_enabled", "false")]), (false, true));
        assert_eq!(limits(&[("vmem_check_enabled", "false")]), (true, false));
        assert_eq!(settings(&[("interval", "0secs")]).unwrap().interval, None);
    }

    #[test]
    fn wrong_values_are_told_with_their_key() {
        let refused = |key, value| settings(&[(key, value)]).unwrap_err();
        for value in ["0.99", "0", "-3", "NaN", "inf"] {
            let said = refused("vmem_pmem_ratio", value);
            assert!(said.contains(&format!("`vmem_pmem_ratio` is `{value}`, expected")), "{said}");
        }
        assert!(settings(&[("vmem_pmem_ratio", "1.0")]).is_ok());
        assert!(refused("vmem_pmem_ratio", "two").contains("`two`"));
        assert!(refused("measure", "top").contains("expected `procfs`, `smaps` or `command:"));
        assert!(refused("measure", "command:/no/such").contains("No such file"));
        assert!(refused("smaps_rule", "newer").contains("only for"));
        assert!(refused("smaps", "true").contains("unknown parameter `smaps`"));
        let smaps = settings(&[("measure", "smaps"), ("smaps_rule", "older")]).unwrap();
        assert_eq!(smaps.measure, Measure::Smaps(SmapsRule::Older));
    }
}
