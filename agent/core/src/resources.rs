//! What the container of an executor may use: the executor's resources and those of its tasks, and their limits.

use std::collections::BTreeMap;

use mezzo_model::{Format, Resources};
use mezzo_proto::v1::{Resource, TaskInfo};

use crate::executor::Executor;

/// A running sum.
#[derive(Clone, Debug, Default)]
pub(crate) struct Total {
    sum: Resources,
}

impl Total {
    /// Adds; what is no valid resource counts as nothing, as the master has refused it before.
    pub(crate) fn add(&mut self, resources: &[Resource]) {
        if let Ok(more) = Resources::from_proto(resources) {
            self.sum += more;
        }
    }

    pub(crate) fn remove(&mut self, resources: &[Resource]) {
        if let Ok(less) = Resources::from_proto(resources) {
            self.sum.subtract(&less);
        }
    }

    pub(crate) fn to_proto(&self) -> Vec<Resource> {
        self.sum.to_proto(Format::PostRefinement)
    }
}

/// The limits of an executor's container: only where one of its tasks has a limit of its own. Everything in the container
/// counts with its limit, or its request if it has none; one without bound makes the sum infinite.
pub(crate) fn limits(executor: &Executor) -> BTreeMap<String, f64> {
    let mut limits = BTreeMap::new();
    for name in ["cpus", "mem"] {
        if !executor.active().any(|t| t.info.limits.contains_key(name)) {
            continue;
        }
        let own = request(&executor.info.resources, name);
        let sum = executor.active().map(|t| limit(&t.info, name)).sum::<f64>();
        limits.insert(name.to_owned(), own + sum);
    }
    limits
}

fn limit(task: &TaskInfo, name: &str) -> f64 {
    task.limits.get(name).map_or_else(|| request(&task.resources, name), |l| l.value)
}

fn request(resources: &[Resource], name: &str) -> f64 {
    resources
        .iter()
        .filter(|r| r.name == name)
        .filter_map(|r| r.scalar.as_ref())
        .map(|s| s.value)
        .sum()
}
