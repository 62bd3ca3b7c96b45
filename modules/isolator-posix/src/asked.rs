//! What a container asked for, out of resources and limits.

use std::collections::BTreeMap;

use mezzo_proto::v1::Resource;
use mezzo_proto::v1::value::Scalar;

/// The request and the limit for one resource of one container.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Asked {
    /// All resources of the name together; `None` also while it is not known (after a restart of the agent).
    pub request: Option<f64>,
    /// Infinity: no limit.
    pub limit: Option<f64>,
}

impl Asked {
    pub(crate) fn of(name: &str, requests: &[Resource], limits: &BTreeMap<String, Scalar>) -> Self {
        let scalars = requests.iter().filter(|resource| resource.name == name);
        Self {
            request: scalars
                .filter_map(|resource| resource.scalar.as_ref().map(|scalar| scalar.value))
                .reduce(|all, value| all + value),
            limit: limits.get(name).map(|limit| limit.value),
        }
    }

    /// The limit, or what the machine has if it is infinite.
    pub(crate) fn limit_of(&self, machine: impl FnOnce() -> Option<f64>) -> Option<f64> {
        match self.limit {
            Some(limit) if limit.is_infinite() => machine(),
            limit => limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_one_name_add_up_and_limits_may_be_infinite() {
        let scalar = |name: &str, value| Resource {
            name: name.into(),
            scalar: Some(Scalar { value }),
            ..Resource::default()
        };
        let requests = [scalar("cpus", 1.0), scalar("mem", 64.0), scalar("cpus", 0.5)];
        let limits = BTreeMap::from([("mem".to_owned(), Scalar { value: f64::INFINITY })]);
        let cpus = Asked::of("cpus", &requests, &limits);
        assert_eq!(cpus, Asked { request: Some(1.5), limit: None });
        assert_eq!(cpus.limit_of(|| Some(9.0)), None);
        assert_eq!(Asked::of("mem", &requests, &limits).limit_of(|| Some(9.0)), Some(9.0));
        assert_eq!(Asked::of("disk", &requests, &limits), Asked::default());
    }
}
