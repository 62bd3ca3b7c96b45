//! What a task may ask for and this containerizer does not do yet. It is refused with a clear message: a task that runs
//! without its files, its image or its volumes would do harm in a way that is hard to find.

use mezzo_module_api::v1::ContainerConfig;
use mezzo_proto::v1::container_info::Type;

use crate::LaunchError;

/// Refuses what would have to be left out.
pub(crate) fn refuse(config: &ContainerConfig) -> Result<(), LaunchError> {
    let task = config.task_info.as_ref();
    let executor = config.executor_info.as_ref();
    let commands = [
        Some(&config.command_info),
        task.and_then(|t| t.command.as_ref()),
        executor.and_then(|e| e.command.as_ref()),
    ];
    if let Some(uri) = commands.into_iter().flatten().flat_map(|c| &c.uris).next() {
        return missing("command.uris", &format!("'{}'", uri.value), "there is no fetcher yet");
    }
    let containers = [
        config.container_info.as_ref(),
        task.and_then(|t| t.container.as_ref()),
        executor.and_then(|e| e.container.as_ref()),
    ];
    for container in containers.into_iter().flatten() {
        if container.r#type() == Type::Docker {
            return missing("container.type", "DOCKER", "there is no Docker containerizer yet");
        }
        if container.mesos.as_ref().is_some_and(|m| m.image.is_some()) {
            return missing(
                "container.mesos.image",
                "set",
                "there is no provisioner for images yet",
            );
        }
        if let Some(volume) = container.volumes.first() {
            let path = format!("'{}'", volume.container_path);
            return missing("container.volumes", &path, "there is no isolator for volumes yet");
        }
        // On the host's network it would be where it was not meant to be.
        if let Some(name) = container.network_infos.iter().find_map(|n| n.name.as_ref()) {
            let name = format!("'{name}'");
            return missing(
                "container.network_infos.name",
                &name,
                "there is no isolator for networks yet",
            );
        }
        if container.tty_info.is_some() {
            return missing("container.tty_info", "set", "there is no terminal for containers yet");
        }
    }
    Ok(())
}

fn missing(field: &str, found: &str, why: &str) -> Result<(), LaunchError> {
    Err(LaunchError::InvalidCommand(format!("{field} is {found}: {why}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use mezzo_proto::v1::container_info::MesosInfo;
    use mezzo_proto::v1::{
        CommandInfo, ContainerInfo, Image, NetworkInfo, TaskInfo, TtyInfo, Volume, command_info,
    };

    use super::*;

    #[test]
    fn what_would_be_left_out_is_refused_by_name() {
        let uri = command_info::Uri { value: "http://x/y".to_owned(), ..Default::default() };
        let command = CommandInfo { uris: vec![uri], ..CommandInfo::default() };
        let task = TaskInfo { command: Some(command), ..TaskInfo::default() };
        let config = ContainerConfig { task_info: Some(task), ..ContainerConfig::default() };
        let text = refuse(&config).unwrap_err().to_string();
        assert_eq!(text, "command.uris is 'http://x/y': there is no fetcher yet");

        let mesos = ContainerInfo { r#type: Type::Mesos.into(), ..ContainerInfo::default() };
        let image = MesosInfo { image: Some(Image::default()) };
        let network = NetworkInfo { name: Some("net".to_owned()), ..NetworkInfo::default() };
        for (container, field) in [
            (ContainerInfo { r#type: Type::Docker.into(), ..mesos.clone() }, "container.type"),
            (ContainerInfo { mesos: Some(image), ..mesos.clone() }, "container.mesos.image"),
            (
                ContainerInfo { volumes: vec![Volume::default()], ..mesos.clone() },
                "container.volumes",
            ),
            (
                ContainerInfo { network_infos: vec![network], ..mesos.clone() },
                "container.network_infos.name",
            ),
            (
                ContainerInfo { tty_info: Some(TtyInfo::default()), ..mesos.clone() },
                "container.tty_info",
            ),
        ] {
            let config =
                ContainerConfig { container_info: Some(container), ..ContainerConfig::default() };
            assert!(refuse(&config).unwrap_err().to_string().starts_with(field));
        }
        let plain = ContainerConfig { container_info: Some(mesos), ..ContainerConfig::default() };
        refuse(&plain).unwrap();
    }
}
