//! From what isolators and hooks ask for to one launch spec.
//!
//! Lists are joined, namespaces and groups united. What there can be only one of may be asked for by one isolator only. An
//! isolator that asks for something this containerizer cannot do ends the launch: running the task without it would not be
//! what the operator wanted.

use std::collections::BTreeMap;

use mezzo_linux::launch::{LaunchSpec, MountSpec, Namespaces, Rlimit, RlimitKind};
use mezzo_module_api::v1::{ContainerLaunchInfo, ContainerMountInfo};
use mezzo_proto::v1::r_limit_info::RLimit;
use mezzo_proto::v1::r_limit_info::r_limit::Type;
use mezzo_proto::v1::{CommandInfo, Environment};

use crate::LaunchError;

/// Variables for the task alone, as a JSON object: how they get past an executor. `mezzo-executor` takes it from its
/// environment.
pub(crate) const TASK_ENVIRONMENT: &str = "MEZZO_TASK_ENVIRONMENT";

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What isolators asked for, as one.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) environment: Variables,
    pub(crate) task_environment: Variables,
    pub(crate) namespaces: Namespaces,
    pub(crate) mounts: Vec<MountSpec>,
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) groups: Vec<u32>,
    pub(crate) no_new_privs: bool,
}

/// Environment variables; of two with one name the later counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Puts variables over those that are there.
    pub(crate) fn set(&mut self, environment: &Environment) -> Result<(), LaunchError> {
        for variable in &environment.variables {
            let value = match (&variable.value, &variable.secret) {
                (Some(value), _) => value.clone(),
                (None, None) => String::new(),
                (None, Some(secret)) => {
                    let data = secret.value.as_ref().map(|v| v.data.to_vec()).ok_or_else(|| {
                        LaunchError::InvalidCommand(format!("environment variable '{}' refers to a secret by name, and this agent has no resolver for secrets", variable.name))
                    })?;
                    String::from_utf8(data).map_err(|_| {
                        LaunchError::InvalidCommand(format!(
                            "environment variable '{}' has a secret that is not text",
                            variable.name
                        ))
                    })?
                }
            };
            if variable.name.is_empty()
                || variable.name.contains(['=', '\0'])
                || value.contains('\0')
            {
                let name = variable.name.escape_debug();
                return Err(LaunchError::InvalidCommand(format!(
                    "environment variable '{name}' cannot be set; expected a name that is not empty, without '=', and no NUL in name or value"
                )));
            }
            self.0.insert(variable.name.clone(), value);
        }
        Ok(())
    }

    /// Puts another set over this one.
    pub(crate) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn to_proto(&self) -> Environment {
        use mezzo_proto::v1::environment::Variable;
        let variable = |(name, value): (&String, &String)| Variable {
            name: name.clone(),
            value: Some(value.clone()),
            ..Variable::default()
        };
        Environment { variables: self.0.iter().map(variable).collect() }
    }

    /// As a process gets them: with a PATH, and the task's own set packed into one.
    pub(crate) fn finish(mut self, task: Self) -> Vec<(String, String)> {
        self.0.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
        if !task.0.is_empty() {
            let json =
                serde_json::Value::Object(task.0.into_iter().map(|(k, v)| (k, v.into())).collect());
            self.0.insert(TASK_ENVIRONMENT.to_owned(), json.to_string());
        }
        self.0.into_iter().collect()
    }
}

/// Merges the answers of the isolators, given with their names, in their order.
pub(crate) fn merge(infos: &[(String, ContainerLaunchInfo)]) -> Result<Merged, LaunchError> {
    only_one(infos, "the working directory", |i| i.working_directory.is_some())?;
    only_one(infos, "rlimits", |i| i.rlimits.is_some())?;
    only_one(infos, "capabilities", |i| {
        i.effective_capabilities.is_some() || i.bounding_capabilities.is_some()
    })?;
    only_one(infos, "the terminal", |i| i.tty_slave_path.is_some())?;

    let mut merged = Merged::default();
    for (isolator, info) in infos {
        supported(isolator, info)?;
        if let Some(environment) = &info.environment {
            merged.environment.set(environment)?;
        }
        if let Some(environment) = &info.task_environment {
            merged.task_environment.set(environment)?;
        }
        for flag in &info.clone_namespaces {
            add_namespaces(isolator, &mut merged.namespaces, *flag)?;
        }
        merged.mounts.extend(info.mounts.iter().map(mount));
        for rlimit in info.rlimits.iter().flat_map(|r| &r.rlimits) {
            merged.rlimits.push(limit(isolator, rlimit)?);
        }
        for group in &info.supplementary_groups {
            if !merged.groups.contains(group) {
                merged.groups.push(*group);
            }
        }
        merged.no_new_privs |= info.no_new_privileges();
    }
    Ok(merged)
}

/// The program of a command and its arguments.
pub(crate) fn program(command: &CommandInfo) -> Result<LaunchSpec, LaunchError> {
    let value = command.value.as_deref().unwrap_or_default();
    if value.trim().is_empty() {
        let what =
            if command.shell() { "the text given to /bin/sh -c" } else { "the program to execute" };
        return Err(LaunchError::InvalidCommand(format!(
            "'command.value' is empty; expected {what}"
        )));
    }
    if command.shell() {
        return Ok(LaunchSpec::shell(value));
    }
    if command.arguments.is_empty() {
        return Ok(LaunchSpec::new(value, [value]));
    }
    Ok(LaunchSpec::new(value, command.arguments.iter().cloned()))
}

fn only_one(
    infos: &[(String, ContainerLaunchInfo)],
    what: &'static str,
    sets: impl Fn(&ContainerLaunchInfo) -> bool,
) -> Result<(), LaunchError> {
    let mut who = infos.iter().filter(|(_, info)| sets(info)).map(|(name, _)| name.clone());
    match (who.next(), who.next()) {
        (Some(first), Some(second)) => Err(LaunchError::Conflict { first, second, what }),
        _ => Ok(()),
    }
}

fn supported(isolator: &str, info: &ContainerLaunchInfo) -> Result<(), LaunchError> {
    let wants = [
        (!info.pre_exec_commands.is_empty(), "commands run before the task"),
        (info.rootfs.is_some(), "a root file system"),
        (!info.enter_namespaces.is_empty(), "to enter namespaces of another container"),
        (info.user.is_some(), "another user"),
        (info.command.is_some(), "another command"),
        (!info.masked_paths.is_empty(), "masked paths"),
        (!info.file_operations.is_empty(), "file operations"),
        (
            info.effective_capabilities.is_some() || info.bounding_capabilities.is_some(),
            "capabilities",
        ),
        (info.tty_slave_path.is_some(), "a terminal"),
        (!info.task_supplementary_groups.is_empty(), "groups for the task alone"),
    ];
    match wants.into_iter().find(|(wanted, _)| *wanted) {
        Some((_, what)) => Err(LaunchError::Unsupported { isolator: isolator.to_owned(), what }),
        None => Ok(()),
    }
}

fn add_namespaces(
    isolator: &str,
    namespaces: &mut Namespaces,
    flags: i32,
) -> Result<(), LaunchError> {
    // CLONE_NEW… of sched.h; the numbers are part of the kernel's interface.
    let mut rest = flags;
    for (flag, wanted) in [
        (0x2000_0000, &mut namespaces.pid),
        (0x0002_0000, &mut namespaces.mount),
        (0x0800_0000, &mut namespaces.ipc),
        (0x0400_0000, &mut namespaces.uts),
        (0x4000_0000, &mut namespaces.network),
        (0x0200_0000, &mut namespaces.cgroup),
    ] {
        *wanted |= rest & flag != 0;
        rest &= !flag;
    }
    if rest == 0 {
        Ok(())
    } else {
        Err(LaunchError::Unsupported {
            isolator: isolator.to_owned(),
            what: "a namespace of another kind",
        })
    }
}

fn mount(info: &ContainerMountInfo) -> MountSpec {
    MountSpec {
        source: info.source.clone(),
        target: info.target.clone().into(),
        kind: info.r#type.clone(),
        flags: info.flags().into(),
        options: info.options.clone(),
    }
}

fn limit(isolator: &str, rlimit: &RLimit) -> Result<Rlimit, LaunchError> {
    let kind = match rlimit.r#type() {
        Type::RlmtAs => RlimitKind::As,
        Type::RlmtCore => RlimitKind::Core,
        Type::RlmtCpu => RlimitKind::Cpu,
        Type::RlmtData => RlimitKind::Data,
        Type::RlmtFsize => RlimitKind::Fsize,
        Type::RlmtLocks => RlimitKind::Locks,
        Type::RlmtMemlock => RlimitKind::Memlock,
        Type::RlmtMsgqueue => RlimitKind::Msgqueue,
        Type::RlmtNice => RlimitKind::Nice,
        Type::RlmtNofile => RlimitKind::Nofile,
        Type::RlmtNproc => RlimitKind::Nproc,
        Type::RlmtRss => RlimitKind::Rss,
        Type::RlmtRtprio => RlimitKind::Rtprio,
        Type::RlmtRttime => RlimitKind::Rttime,
        Type::RlmtSigpending => RlimitKind::Sigpending,
        Type::RlmtStack => RlimitKind::Stack,
        Type::Unknown => {
            return Err(LaunchError::Unsupported {
                isolator: isolator.to_owned(),
                what: "a resource limit of an unknown kind",
            });
        }
    };
    if rlimit.soft.is_some() != rlimit.hard.is_some() {
        return Err(LaunchError::InvalidCommand(format!(
            "resource limit {kind:?} has only one of 'soft' and 'hard'; expected both, or none for no limit"
        )));
    }
    Ok(Rlimit { kind, soft: rlimit.soft, hard: rlimit.hard })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use mezzo_proto::v1::environment::Variable;
    use mezzo_proto::v1::{RLimitInfo, Secret};

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variable = |(name, value): &(&str, &str)| Variable {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
            ..Variable::default()
        };
        Environment { variables: variables.iter().map(variable).collect() }
    }

    fn two(first: ContainerLaunchInfo, second: ContainerLaunchInfo) -> Result<Merged, LaunchError> {
        merge(&[("a".to_owned(), first), ("b".to_owned(), second)])
    }

    #[test]
    fn lists_are_joined_and_the_later_variable_wins() {
        let merged = two(
            ContainerLaunchInfo {
                environment: Some(environment(&[("X", "1"), ("Y", "1")])),
                clone_namespaces: vec![0x2000_0000],
                supplementary_groups: vec![1, 2],
                ..ContainerLaunchInfo::default()
            },
            ContainerLaunchInfo {
                environment: Some(environment(&[("X", "2")])),
                clone_namespaces: vec![0x0800_0000 | 0x2000_0000],
                supplementary_groups: vec![2, 3],
                no_new_privileges: Some(true),
                ..ContainerLaunchInfo::default()
            },
        )
        .unwrap();
        assert_eq!(merged.environment.to_proto(), environment(&[("X", "2"), ("Y", "1")]));
        assert!(merged.namespaces.pid && merged.namespaces.ipc && !merged.namespaces.mount);
        assert_eq!(merged.groups, [1, 2, 3]);
        assert!(merged.no_new_privs);
    }

    #[test]
    fn what_there_can_be_one_of_two_isolators_cannot_both_set() {
        type Set = fn(&mut ContainerLaunchInfo);
        let set: [(&str, Set); 4] = [
            ("the working directory", |i| i.working_directory = Some("/".to_owned())),
            ("rlimits", |i| i.rlimits = Some(RLimitInfo::default())),
            ("capabilities", |i| {
                i.effective_capabilities = Some(mezzo_proto::v1::CapabilityInfo::default())
            }),
            ("the terminal", |i| i.tty_slave_path = Some("/dev/pts/0".to_owned())),
        ];
        for (what, set) in set {
            let mut info = ContainerLaunchInfo::default();
            set(&mut info);
            let error = two(info.clone(), info).unwrap_err();
            assert_eq!(error.to_string(), format!("isolators 'a' and 'b' both set {what}"));
        }
    }

    #[test]
    fn what_cannot_be_done_is_not_skipped() {
        let info = ContainerLaunchInfo {
            rootfs: Some("/image".to_owned()),
            ..ContainerLaunchInfo::default()
        };
        let error = two(ContainerLaunchInfo::default(), info).unwrap_err();
        assert_eq!(
            error.to_string(),
            "isolator 'b' wants a root file system, which this containerizer does not do"
        );
        let info = ContainerLaunchInfo {
            clone_namespaces: vec![0x1000_0000],
            ..ContainerLaunchInfo::default()
        };
        assert!(matches!(
            two(info, ContainerLaunchInfo::default()),
            Err(LaunchError::Unsupported { .. })
        ));
    }

    #[test]
    fn a_limit_has_both_numbers_or_none() {
        let one = RLimit { r#type: Some(Type::RlmtCore.into()), soft: Some(1), hard: None };
        assert!(limit("a", &one).unwrap_err().to_string().contains("Core has only one"));
        let none = RLimit { r#type: Some(Type::RlmtCore.into()), soft: None, hard: None };
        assert_eq!(
            limit("a", &none).unwrap(),
            Rlimit { kind: RlimitKind::Core, soft: None, hard: None }
        );
    }

    #[test]
    fn variables_that_no_process_can_have_are_refused() {
        for wrong in [("", "x"), ("a=b", "x"), ("a", "x\0")] {
            assert!(Variables::default().set(&environment(&[wrong])).is_err(), "{wrong:?}");
        }
        let secret = Variable {
            name: "S".to_owned(),
            secret: Some(Secret::default()),
            ..Variable::default()
        };
        let error = Variables::default().set(&Environment { variables: vec![secret] }).unwrap_err();
        assert!(error.to_string().contains("'S' refers to a secret"), "{error}");
    }

    #[test]
    fn there_is_always_a_path_and_the_tasks_variables_travel_in_one() {
        let mut task = Variables::default();
        task.set(&environment(&[("A", "1\"")])).unwrap();
        let all = Variables::default().finish(task);
        assert!(all.contains(&("PATH".to_owned(), DEFAULT_PATH.to_owned())));
        assert!(all.contains(&(TASK_ENVIRONMENT.to_owned(), r#"{"A":"1\""}"#.to_owned())));
    }

    #[test]
    fn a_command_without_a_value_says_what_was_expected() {
        let error = program(&CommandInfo::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "'command.value' is empty; expected the text given to /bin/sh -c"
        );
        let direct = CommandInfo {
            shell: Some(false),
            value: Some("/bin/ls".to_owned()),
            ..CommandInfo::default()
        };
        assert_eq!(program(&direct).unwrap().argv, ["/bin/ls"]);
    }
}
