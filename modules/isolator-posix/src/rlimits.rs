//! `posix/rlimits`: the resource limits a container asks for.

use mezzo_module_api::v1::{
    ContainerLaunchInfo, IsolatorCapabilitiesRequest, IsolatorCapabilitiesResponse, PrepareRequest,
    PrepareResponse,
};
use mezzo_module_api::{Host, Isolator, ModuleError, Parameters};
use mezzo_proto::v1::RLimitInfo;
use mezzo_proto::v1::r_limit_info::RLimit;
use mezzo_proto::v1::r_limit_info::r_limit::Type;

/// Passes resource limits on to the launch.
#[derive(Debug)]
pub struct RlimitsIsolator(());

impl RlimitsIsolator {
    /// The isolator. There are no parameters.
    ///
    /// # Errors
    /// When there are.
    pub fn new(_: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        parameters.allow_only(&[])?;
        Ok(Self(()))
    }
}

impl Isolator for RlimitsIsolator {
    fn capabilities(
        &self,
        _: IsolatorCapabilitiesRequest,
    ) -> Result<IsolatorCapabilitiesResponse, ModuleError> {
        Ok(IsolatorCapabilitiesResponse { nesting: Some(true), standalone: Some(true) })
    }

    fn prepare(&self, request: PrepareRequest) -> Result<PrepareResponse, ModuleError> {
        let container = request.config.and_then(|config| config.container_info);
        let Some(asked) = container.and_then(|container| container.rlimit_info) else {
            return Ok(PrepareResponse::default());
        };
        asked.rlimits.iter().try_for_each(check)?;
        let info = ContainerLaunchInfo {
            rlimits: Some(RLimitInfo { rlimits: asked.rlimits }),
            ..ContainerLaunchInfo::default()
        };
        Ok(PrepareResponse { launch_info: Some(info) })
    }
}

/// Refuses what `setrlimit` could not mean.
fn check(limit: &RLimit) -> Result<(), ModuleError> {
    let name = match limit.r#type() {
        Type::Unknown => {
            let number = limit.r#type.unwrap_or_default();
            return Err(ModuleError::invalid(format!(
                "container.rlimit_info has a limit of the unknown type {number}, expected RLMT_AS ({}) to RLMT_STACK ({})",
                Type::RlmtAs as i32,
                Type::RlmtStack as i32
            )));
        }
        known => known.as_str_name(),
    };
    match (limit.soft, limit.hard) {
        (Some(soft), Some(hard)) if soft > hard => Err(ModuleError::invalid(format!(
            "container.rlimit_info: {name} has soft {soft} and hard {hard}, expected soft not above hard"
        ))),
        (Some(_), Some(_)) | (None, None) => Ok(()),
        (soft, _) => {
            let (has, lacks) = if soft.is_some() { ("soft", "hard") } else { ("hard", "soft") };
            Err(ModuleError::invalid(format!(
                "container.rlimit_info: {name} has {has} but no {lacks}, expected both, or none for no limit"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use mezzo_module_api::v1::ContainerConfig;
    use mezzo_proto::v1::ContainerInfo;

    use super::*;

    fn prepare(limits: &[RLimit]) -> Result<Option<Vec<RLimit>>, ModuleError> {
        let isolator = RlimitsIsolator::new(Host::silent(), Parameters::default()).unwrap();
        let container = ContainerInfo {
            rlimit_info: Some(RLimitInfo { rlimits: limits.to_vec() }),
            ..ContainerInfo::default()
        };
        let config =
            ContainerConfig { container_info: Some(container), ..ContainerConfig::default() };
        let request = PrepareRequest { config: Some(config), ..PrepareRequest::default() };
        let info = isolator.prepare(request)?.launch_info;
        Ok(info.and_then(|info| info.rlimits).map(|limits| limits.rlimits))
    }

    fn limit(kind: Type, soft: Option<u64>, hard: Option<u64>) -> RLimit {
        RLimit { r#type: Some(kind.into()), soft, hard }
    }

    #[test]
    fn good_limits_are_passed_on_as_they_are() {
        let limits = [
            limit(Type::RlmtNofile, Some(64), Some(128)),
            limit(Type::RlmtCore, None, None),
            limit(Type::RlmtNproc, Some(5), Some(5)),
        ];
        assert_eq!(prepare(&limits).unwrap().unwrap(), limits);
    }

    #[test]
    fn a_container_without_limits_gets_none() {
        let isolator = RlimitsIsolator::new(Host::silent(), Parameters::default()).unwrap();
        let response = isolator.prepare(PrepareRequest::default()).unwrap();
        assert_eq!(response.launch_info, None);
    }

    #[test]
    fn wrong_limits_end_the_launch_and_name_their_type() {
        let refused = |kind, soft, hard| prepare(&[limit(kind, soft, hard)]).unwrap_err().message;
        assert_eq!(
            refused(Type::RlmtNofile, Some(1), None),
            "container.rlimit_info: RLMT_NOFILE has soft but no hard, expected both, or none for no limit"
        );
        assert_eq!(
            refused(Type::RlmtCpu, None, Some(1)),
            "container.rlimit_info: RLMT_CPU has hard but no soft, expected both, or none for no limit"
        );
        assert_eq!(
            refused(Type::RlmtStack, Some(9), Some(8)),
            "container.rlimit_info: RLMT_STACK has soft 9 and hard 8, expected soft not above hard"
        );
        assert!(refused(Type::Unknown, None, None).contains("unknown type 0"));
        let foreign = RLimit { r#type: Some(99), soft: None, hard: None };
        assert!(prepare(&[foreign]).unwrap_err().message.contains("unknown type 99"));
        let none = RLimit::default();
        assert!(prepare(&[none]).unwrap_err().message.contains("unknown type 0"));
    }
}
