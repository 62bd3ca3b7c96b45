//! `devices`: no device nodes but the usual ones and those that the operator allows.

use mezzo_linux::cgroup::v2::DeviceProgram;
use mezzo_linux::cgroup::{DeviceAccess, DeviceRule, v1};
use mezzo_module_api::v1::ContainerConfig;
use mezzo_module_api::{Code, Host, ModuleError};
use mezzo_proto::v1::DeviceWhitelist;
use mezzo_proto::v1::device_access::Access;

use crate::container::Container;
use crate::layout::broken;
use crate::subsystem::{Setup, Subsystem};

/// The controller.
#[derive(Debug)]
struct Devices {
    host: Host,
    rules: Vec<DeviceRule>,
    /// In version 2, one for all containers. Each one's cgroup holds on to it, also when this agent has gone.
    program: Option<DeviceProgram>,
}

pub(crate) fn make(setup: &Setup<'_>) -> Result<Box<dyn Subsystem>, ModuleError> {
    let mut rules = DeviceRule::defaults();
    if let Some(value) = setup.parameters.get("allowed_devices") {
        rules.extend(allowed(value)?);
    }
    let program = if setup.layout.is_v2() {
        let program = DeviceProgram::load(&rules).map_err(|error| {
            ModuleError::new(
                Code::Unavailable,
                format!("isolator `cgroups/devices` needs eBPF in cgroup version 2: {error}"),
            )
        })?;
        Some(program)
    } else {
        None
    };
    Ok(Box::new(Devices { host: setup.host.clone(), rules, program }))
}

impl Subsystem for Devices {
    fn prepare(&self, container: &Container<'_>, _: &ContainerConfig) -> Result<(), ModuleError> {
        let cgroup = container.cgroup("devices")?;
        if let Some(program) = &self.program {
            return program.attach(&cgroup).map_err(broken);
        }
        let rules: Vec<String> = self.rules.iter().map(DeviceRule::to_string).collect();
        v1::Devices::new(cgroup).allow_only(rules.iter().map(String::as_str)).map_err(broken)
    }

    fn recover(&self, container: &Container<'_>) -> Result<(), ModuleError> {
        if self.program.is_some()
            && DeviceProgram::attached(&container.cgroup("devices")?).map_err(broken)? == 0
        {
            // It may be using a device that it could not open now.
            self.host.warn(format!(
                "container `{}` was started without device rules: it lives without",
                container.name
            ));
        }
        Ok(())
    }
}

/// The value of `allowed_devices`: JSON, or the path of a file of it.
fn allowed(value: &str) -> Result<Vec<DeviceRule>, ModuleError> {
    let wrong = |what: String| ModuleError::invalid(format!("parameter `allowed_devices`: {what}"));
    let path = value.strip_prefix("file://").or_else(|| value.starts_with('/').then_some(value));
    let text = match path {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| wrong(format!("cannot read `{path}`: {error}")))?,
        None => value.to_owned(),
    };
    let list: DeviceWhitelist = mezzo_proto::json::from_str(&text)
        .map_err(|error| wrong(format!("{error}, expected {{\"allowed_devices\": […]}}")))?;
    let mut rules = Vec::new();
    for (index, entry) in list.allowed_devices.iter().enumerate() {
        let place = format!("allowed_devices[{index}]");
        let Some(path) = entry.device.path.as_deref().filter(|path| !path.is_empty()) else {
            return Err(wrong(format!("`{place}.device.path` is missing")));
        };
        let access = access(&entry.access);
        if access == DeviceAccess::default() {
            return Err(wrong(format!(
                "`{place}.access` of `{path}` allows nothing, expected at least one of `read`, `write`, `mknod`"
            )));
        }
        let rule = DeviceRule::of_node(path.as_ref(), access)
            .map_err(|error| wrong(format!("`{place}.device.path`: {error}")))?;
        rules.push(rule);
    }
    Ok(rules)
}

fn access(access: &Access) -> DeviceAccess {
    DeviceAccess { read: access.read(), write: access.write(), make: access.mknod() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn entry(path: &str, access: &str) -> String {
        format!(r#"{{"allowed_devices":[{{"device":{{"path":"{path}"}},"access":{access}}}]}}"#)
    }

    #[test]
    fn nodes_become_rules_also_from_a_file() {
        let text = entry("/dev/zero", r#"{"read":true,"write":false,"mknod":true}"#);
        assert_eq!(allowed(&text).unwrap()[0].to_string(), "c 1:5 rm");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("devices.json");
        std::fs::write(&file, text).unwrap();
        assert_eq!(allowed(file.to_str().unwrap()).unwrap().len(), 1);
        assert_eq!(allowed(&format!("file://{}", file.display())).unwrap().len(), 1);
        assert_eq!(allowed("{}").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let message = |text: &str| allowed(text).unwrap_err().message;
        assert!(message("nonsense").starts_with("parameter `allowed_devices`: "));
        assert!(message("/does/not/exist").contains("cannot read `/does/not/exist`"));
        let nothing = message(&entry("/dev/null", r#"{"read":false}"#));
        assert!(nothing.contains("`allowed_devices[0].access` of `/dev/null` allows nothing"));
        let gone = message(&entry("/dev/none-such", r#"{"read":true}"#));
        assert!(gone.contains("allowed_devices[0].device.path") && gone.contains("/dev/none-such"));
        let file = message(&entry("/proc/self/status", r#"{"read":true}"#));
        assert!(file.contains("expected a block or character device"), "{file}");
        let no_path = message(r#"{"allowed_devices":[{"device":{},"access":{"read":true}}]}"#);
        assert!(no_path.contains("`allowed_devices[0].device.path` is missing"), "{no_path}");
        let no_access = message(r#"{"allowed_devices":[{"device":{"path":"/dev/null"}}]}"#);
        assert!(no_access.contains("access"), "{no_access}");
    }
}
