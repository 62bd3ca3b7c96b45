//! `pids`: a limit on the number of processes and threads, for the container that asks for one.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use mezzo_linux::cgroup::v1::Pids as Files;
use mezzo_linux::cgroup::{ForkWatch, Readiness};
use mezzo_module_api::v1::ContainerConfig;
use mezzo_module_api::{Host, ModuleError};

use crate::amount::{Amount, Asked};
use crate::container::{Container, PerContainer};
use crate::layout::broken;
use crate::subsystem::{Setup, Subsystem};
use crate::watcher::{Next, WatchKey, Watched, Watcher};

/// The controller. Its files are the same in both versions.
#[derive(Debug)]
struct Pids {
    host: Host,
    is_v2: bool,
    watcher: Arc<Watcher>,
    /// For containers that ask for nothing.
    default: Option<u64>,
    watches: PerContainer<WatchKey>,
}

pub(crate) fn make(setup: &Setup<'_>) -> Result<Box<dyn Subsystem>, ModuleError> {
    let default = setup.parameters.parse::<u64>("pids_max")?;
    if default == Some(0) {
        return Err(ModuleError::invalid(
            "parameter `pids_max` is `0`, expected a number of processes above 0",
        ));
    }
    Ok(Box::new(Pids {
        host: setup.host.clone(),
        is_v2: setup.layout.is_v2(),
        watcher: Arc::clone(setup.watcher),
        default,
        watches: PerContainer::default(),
    }))
}

impl Pids {
    /// Hitting the limit makes fork fail and nothing else, which the task may not tell anybody.
    fn arm(&self, container: &Container<'_>) -> Result<(), ModuleError> {
        let watch = Files::new(container.cgroup("pids")?).watch_refused().map_err(broken)?;
        let source = RefusedForks {
            watch,
            is_v2: self.is_v2,
            host: self.host.clone(),
            name: container.name.clone(),
        };
        self.watches.insert(container, self.watcher.add(source)?);
        Ok(())
    }
}

impl Subsystem for Pids {
    fn prepare(&self, container: &Container<'_>, _: &ContainerConfig) -> Result<(), ModuleError> {
        self.arm(container)
    }

    fn recover(&self, container: &Container<'_>) -> Result<(), ModuleError> {
        self.arm(container)
    }

    fn update(&self, container: &Container<'_>, asked: &Asked<'_>) -> Result<(), ModuleError> {
        let max = limit(asked.amount("pids"), self.default);
        Files::new(container.cgroup("pids")?).set_max(max).map_err(broken)
    }

    fn cleanup(&self, container: &Container<'_>) {
        if let Some(key) = self.watches.take(&container.name) {
            self.watcher.remove(key);
        }
    }
}

/// `limits["pids"]`, else the resource `pids`, else the default; infinity is no limit. At least 1: who has asked wants to run.
fn limit(asked: Amount, default: Option<u64>) -> Option<u64> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float-to-int cast saturates and takes NaN for 0"
    )]
    match asked.limit.or(asked.request) {
        Some(f64::INFINITY) => None,
        Some(number) => Some((number.floor() as u64).clamp(1, MOST)),
        None => default.map(|default| default.min(MOST)),
    }
}

/// The kernel takes no number above that of the pids there can be.
const MOST: u64 = 4 * 1024 * 1024;

/// Counts and logs what the limit refuses.
struct RefusedForks {
    watch: ForkWatch,
    is_v2: bool,
    host: Host,
    name: String,
}

impl Watched for RefusedForks {
    fn fd(&self) -> (BorrowedFd<'_>, Readiness) {
        (self.watch.as_fd(), Readiness::Priority)
    }

    /// Kernels since 6.11 count in version 1, but do not tell.
    fn is_polled(&self) -> bool {
        !self.is_v2
    }

    fn look(&mut self) -> Next {
        match self.watch.check() {
            Ok(Some(0)) => {}
            Ok(Some(refused)) => {
                self.host.warn(format!(
                    "container `{}` has all the processes it may have: {refused} more were refused",
                    self.name
                ));
                self.host.count("forks_refused", refused);
            }
            Ok(None) => return Next::Forget,
            Err(error) => {
                self.host.warn(format!("container `{}`: {error}", self.name));
                return Next::Forget;
            }
        }
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_before_the_request_and_the_request_before_the_default() {
        let asked = |request, limit_| Amount { request, limit: limit_, revocable: false };
        assert_eq!(limit(asked(Some(10.0), Some(20.9)), Some(5)), Some(20));
        assert_eq!(limit(asked(Some(10.0), None), Some(5)), Some(10));
        assert_eq!(limit(asked(None, None), Some(5)), Some(5));
        assert_eq!(limit(asked(None, None), None), None);
        assert_eq!(limit(asked(Some(10.0), Some(f64::INFINITY)), Some(5)), None);
        assert_eq!(limit(asked(Some(f64::NAN), None), None), Some(1));
        assert_eq!(limit(asked(Some(1e300), None), None), Some(MOST));
    }
}
