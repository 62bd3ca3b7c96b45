//! What a container asked for, out of resources and limits.

use std::collections::BTreeMap;

use mezzo_module_api::v1::{ContainerConfig, UpdateRequest};
use mezzo_proto::v1::value::Scalar;
use mezzo_proto::v1::{ContainerId, Resource};

/// A request and a limit for one resource of one container.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Amount {
    /// All of this name together.
    pub(crate) request: Option<f64>,
    /// Infinity: no limit.
    pub(crate) limit: Option<f64>,
    /// A part of the request is revocable.
    pub(crate) revocable: bool,
}

/// Requests and limits as a request carries them.
pub(crate) struct Asked<'a> {
    requests: &'a [Resource],
    limits: &'a BTreeMap<String, Scalar>,
}

impl<'a> Asked<'a> {
    pub(crate) fn of_update(request: &'a UpdateRequest) -> Self {
        Self { requests: &request.requests, limits: &request.limits }
    }

    pub(crate) fn of_config(config: &'a ContainerConfig) -> Self {
        Self { requests: &config.resources, limits: &config.limits }
    }

    pub(crate) fn amount(&self, name: &str) -> Amount {
        let mut amount =
            Amount { limit: self.limits.get(name).map(|limit| limit.value), ..Amount::default() };
        for resource in self.requests.iter().filter(|resource| resource.name == name) {
            let value = resource.scalar.as_ref().map_or(0.0, |scalar| scalar.value);
            amount.request = Some(amount.request.unwrap_or(0.0) + value);
            amount.revocable |= resource.revocable.is_some();
        }
        amount
    }
}

/// Megabytes of a resource as bytes. Amounts have three decimals; no input can overflow.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-int cast saturates and takes NaN for 0"
)]
pub(crate) fn bytes(megabytes: f64) -> u64 {
    let thousandths = (megabytes * 1000.0).round() as u64;
    u64::try_from(u128::from(thousandths) * 1_048_576 / 1000).unwrap_or(u64::MAX)
}

/// The text of a container's id: its parents first.
pub(crate) fn display(id: &ContainerId) -> String {
    match &id.parent {
        Some(parent) => format!("{}.{}", display(parent), id.value),
        None => id.value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn megabytes_become_bytes_without_overflow() {
        assert_eq!(bytes(32.0), 33_554_432);
        assert_eq!(bytes(0.5), 524_288);
        assert_eq!(bytes(-1.0), 0);
        assert_eq!(bytes(f64::NAN), 0);
        assert_eq!(bytes(f64::INFINITY), u64::MAX);
    }

    #[test]
    fn requests_of_one_name_add_up() {
        let cpus = |value, revocable: bool| Resource {
            name: "cpus".into(),
            scalar: Some(Scalar { value }),
            revocable: revocable.then(Default::default),
            ..Resource::default()
        };
        let update = UpdateRequest {
            requests: vec![cpus(1.0, false), cpus(0.5, true)],
            limits: BTreeMap::from([("mem".to_owned(), Scalar { value: f64::INFINITY })]),
            ..UpdateRequest::default()
        };
        let asked = Asked::of_update(&update);
        assert_eq!(
            asked.amount("cpus"),
            Amount { request: Some(1.5), limit: None, revocable: true }
        );
        assert_eq!(
            asked.amount("mem"),
            Amount { request: None, limit: Some(f64::INFINITY), revocable: false }
        );
    }
}
