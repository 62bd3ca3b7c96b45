//! `net_cls` (version 1): a number of its own on every packet of a container, for traffic control and packet filters.
//!
//! The number is a primary handle, which the operator chooses for the agent, and a secondary one, which is handed out here.
//! Without a primary handle nothing is: the operator numbers the cgroups by other means.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mezzo_linux::cgroup::v1::NetCls as Files;
use mezzo_module_api::v1::ContainerConfig;
use mezzo_module_api::{Code, Host, ModuleError, Parameters};
use mezzo_proto::v1::{CgroupInfo, ContainerStatus, cgroup_info};

use crate::container::{Container, PerContainer};
use crate::layout::broken;
use crate::subsystem::{Setup, Subsystem};

const PRIMARY: &str = "cgroups_net_cls_primary_handle";
const SECONDARY: &str = "cgroups_net_cls_secondary_handles";

/// The controller.
#[derive(Debug)]
struct NetCls {
    host: Host,
    handles: Option<Handles>,
    classids: PerContainer<u32>,
}

pub(crate) fn make(setup: &Setup<'_>) -> Result<Box<dyn Subsystem>, ModuleError> {
    Ok(Box::new(NetCls {
        host: setup.host.clone(),
        handles: Handles::new(setup.parameters)?,
        classids: PerContainer::default(),
    }))
}

impl Subsystem for NetCls {
    fn prepare(&self, container: &Container<'_>, _: &ContainerConfig) -> Result<(), ModuleError> {
        if let Some(handles) = &self.handles {
            self.classids.insert(container, handles.take()?);
        }
        Ok(())
    }

    fn recover(&self, container: &Container<'_>) -> Result<(), ModuleError> {
        let classid = Files::new(container.cgroup("net_cls")?).classid().map_err(broken)?;
        if classid == 0 {
            return Ok(());
        }
        self.classids.insert(container, classid);
        if let Some(handles) = &self.handles
            && !handles.reserve(classid)
        {
            // Of an earlier life with other handles, or of two containers: it is told, and nobody else gets it.
            self.host.warn(format!(
                "container `{}` has the net_cls handle {classid:#010x}, which is not of this agent or not its alone",
                container.name
            ));
        }
        Ok(())
    }

    fn isolate(&self, container: &Container<'_>, _: i32) -> Result<(), ModuleError> {
        match self.classids.with(container, |classid| *classid) {
            Some(classid) => {
                Files::new(container.cgroup("net_cls")?).set_classid(classid).map_err(broken)
            }
            None => Ok(()),
        }
    }

    fn status(
        &self,
        container: &Container<'_>,
        status: &mut ContainerStatus,
    ) -> Result<(), ModuleError> {
        if let Some(classid) = self.classids.with(container, |classid| *classid) {
            let net_cls = cgroup_info::NetCls { classid: Some(classid) };
            status.cgroup_info = Some(CgroupInfo { net_cls: Some(net_cls) });
        }
        Ok(())
    }

    fn cleanup(&self, container: &Container<'_>) {
        if let (Some(classid), Some(handles)) = (self.classids.take(&container.name), &self.handles)
        {
            handles.give_back(classid);
        }
    }
}

/// Hands out secondary handles.
#[derive(Debug)]
struct Handles {
    primary: u16,
    secondary: RangeInclusive<u16>,
    used: Mutex<BTreeSet<u16>>,
}

impl Handles {
    /// `None` without a primary handle.
    fn new(parameters: &Parameters) -> Result<Option<Self>, ModuleError> {
        let Some(primary) = parameters.get(PRIMARY) else {
            return match parameters.get(SECONDARY) {
                None => Ok(None),
                Some(_) => Err(ModuleError::invalid(format!(
                    "parameter `{SECONDARY}` is set without `{PRIMARY}`"
                ))),
            };
        };
        let primary = number(primary).filter(|primary| *primary > 0).ok_or_else(|| {
            ModuleError::invalid(format!(
                "parameter `{PRIMARY}` is `{primary}`, expected a number of 16 bits above 0, such as 0x0012"
            ))
        })?;
        let secondary = match parameters.get(SECONDARY) {
            None => 1..=u16::MAX,
            Some(value) => range(value).ok_or_else(|| {
                ModuleError::invalid(format!(
                    "parameter `{SECONDARY}` is `{value}`, expected the first and the last of some numbers of 16 bits above 0, such as 0x0001,0x0100"
                ))
            })?,
        };
        Ok(Some(Self { primary, secondary, used: Mutex::default() }))
    }

    fn take(&self) -> Result<u32, ModuleError> {
        let mut used = self.used();
        let free = self.secondary.clone().find(|handle| !used.contains(handle));
        let handle = free.ok_or_else(|| {
            ModuleError::new(
                Code::ResourceExhausted,
                format!(
                    "all net_cls handles from {:#x} to {:#x} are in use (parameter `{SECONDARY}`)",
                    self.secondary.start(),
                    self.secondary.end()
                ),
            )
        })?;
        used.insert(handle);
        Ok(u32::from(self.primary) << 16 | u32::from(handle))
    }

    /// False when it is not one of ours, or taken.
    fn reserve(&self, classid: u32) -> bool {
        self.own(classid).is_some_and(|handle| self.used().insert(handle))
    }

    fn give_back(&self, classid: u32) {
        if let Some(handle) = self.own(classid) {
            self.used().remove(&handle);
        }
    }

    fn own(&self, classid: u32) -> Option<u16> {
        let handle = u16::try_from(classid & 0xffff).ok()?;
        let ours = classid >> 16 == u32::from(self.primary) && self.secondary.contains(&handle);
        ours.then_some(handle)
    }

    fn used(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `0x0012` or `18`.
fn number(text: &str) -> Option<u16> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once(',')?;
    let (first, last) = (number(first.trim())?, number(last.trim())?);
    (first > 0 && first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn handles(pairs: &[(&str, &str)]) -> Result<Option<Handles>, ModuleError> {
        Handles::new(&Parameters::from_pairs(pairs))
    }

    #[test]
    fn handles_are_handed_out_once_and_come_back() {
        let handles = handles(&[(PRIMARY, "0x12"), (SECONDARY, "0x1,0x3")]).unwrap().unwrap();
        assert!(handles.reserve(0x0012_0002));
        assert!(!handles.reserve(0x0012_0002), "taken");
        assert!(!handles.reserve(0x0013_0001) && !handles.reserve(0x0012_0004), "not ours");
        assert_eq!(handles.take().unwrap(), 0x0012_0001);
        assert_eq!(handles.take().unwrap(), 0x0012_0003);
        assert_eq!(handles.take().unwrap_err().code, Code::ResourceExhausted);
        handles.give_back(0x0012_0002);
        assert_eq!(handles.take().unwrap(), 0x0012_0002);
    }

    #[test]
    fn wrong_handles_are_told_with_their_key() {
        assert!(handles(&[]).unwrap().is_none());
        assert_eq!(handles(&[(PRIMARY, "18")]).unwrap().unwrap().take().unwrap(), 0x0012_0001);
        let message = |pairs: &[_]| handles(pairs).unwrap_err().message;
        for wrong in ["", "0", "0x10000", "abc", "-1"] {
            assert!(message(&[(PRIMARY, wrong)]).contains(&format!("`{PRIMARY}` is `{wrong}`")));
        }
        for wrong in ["1", "0,5", "5,4", "1,2,3", "0x1,0x10000"] {
            let pairs = [(PRIMARY, "1"), (SECONDARY, wrong)];
            assert!(message(&pairs).contains(&format!("`{SECONDARY}` is `{wrong}`")));
        }
        assert!(message(&[(SECONDARY, "1,2")]).contains("without"));
    }
}
