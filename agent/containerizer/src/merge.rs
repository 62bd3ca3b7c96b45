//! From what isolators and hooks ask for to one launch spec.
//!
//! Lists are joined, namespaces and groups united. What there can be only one of may be asked for by one isolator only. An
//! isolator that asks for something this containerizer cannot do ends the launch: running the task without it would not be
//! what the operator wanted.

use mezzo_linux::launch::{LaunchSpec, MountSpec, Namespaces, Rlimit, RlimitKind};
use mezzo_module_api::v1::{ContainerLaunchInfo, ContainerMountInfo};
use mezzo_proto::v1::CommandInfo;
use mezzo_proto::v1::r_limit_info::RLimit;
use mezzo_proto::v1::r_limit_info::r_limit::Type;

use crate::LaunchError;
use crate::variables::{Variables, WrongVariable};

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

/// Merges the answers of the isolators, given with their names, in their order. `given` are the namespaces that a container
/// has anyway.
pub(crate) fn merge(
    infos: &[(String, ContainerLaunchInfo)],
    given: Namespaces,
) -> Result<Merged, LaunchError> {
    only_one(infos, "the working directory", |i| i.working_directory.is_some())?;
    only_one(infos, "rlimits", |i| i.rlimits.is_some())?;
    only_one(infos, "capabilities", |i| {
        i.effective_capabilities.is_some() || i.bounding_capabilities.is_some()
    })?;
    only_one(infos, "the terminal", |i| i.tty_slave_path.is_some())?;

    let mut merged = Merged { namespaces: given, ..Merged::default() };
    for (isolator, info) in infos {
        supported(isolator, info)?;
        let wrong = |variable: WrongVariable| variable.of_module("isolator", isolator);
        if let Some(environment) = &info.environment {
            merged.environment.set(environment).map_err(wrong)?;
        }
        if let Some(environment) = &info.task_environment {
            merged.task_environment.set(environment).map_err(wrong)?;
        }
        for flag in &info.clone_namespaces {
            add_namespaces(isolator, &mut merged.namespaces, *flag)?;
        }
        for wanted in &info.mounts {
            merged.mounts.push(mount(isolator, wanted)?);
        }
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
    let mounts = infos.iter().find(|(_, info)| !info.mounts.is_empty());
    if let Some((isolator, _)) = mounts.filter(|_| !merged.namespaces.mount) {
        let what = "mounts, but the container has no mount namespace; expected the isolator to ask for one";
        return Err(unusable(isolator, what.to_owned()));
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
        // On the file system of the host that is always the sandbox.
        (info.working_directory.is_some(), "another working directory"),
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

fn unusable(isolator: &str, what: String) -> LaunchError {
    LaunchError::Unusable { kind: "isolator", name: isolator.to_owned(), what }
}

fn mount(isolator: &str, info: &ContainerMountInfo) -> Result<MountSpec, LaunchError> {
    let texts = [&info.source, &info.r#type, &info.options];
    if !info.target.starts_with('/')
        || info.target.contains('\0')
        || texts.into_iter().flatten().any(|text| text.contains('\0'))
    {
        let target = info.target.escape_debug();
        let expected = "expected an absolute path, and no NUL in any part of a mount";
        return Err(unusable(isolator, format!("a mount at '{target}'; {expected}")));
    }
    Ok(MountSpec {
        source: info.source.clone(),
        target: info.target.clone().into(),
        kind: info.r#type.clone(),
        flags: info.flags().into(),
        options: info.options.clone(),
    })
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
    let wrong = match (rlimit.soft, rlimit.hard) {
        (Some(soft), Some(hard)) if soft > hard => {
            format!("soft {soft} above hard {hard}; expected soft not above hard")
        }
        (Some(_), None) | (None, Some(_)) => {
            "only one of 'soft' and 'hard'; expected both, or none for no limit".to_owned()
        }
        (Some(_), Some(_)) | (None, None) => {
            return Ok(Rlimit { kind, soft: rlimit.soft, hard: rlimit.hard });
        }
    };
    Err(unusable(isolator, format!("resource limit {kind:?} with {wrong}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use mezzo_module_api::v1::ContainerFileOperation;
    use mezzo_proto::v1::environment::Variable;
    use mezzo_proto::v1::{CapabilityInfo, Environment, RLimitInfo};

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
        merge(&[("a".to_owned(), first), ("b".to_owned(), second)], Namespaces::NONE)
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
            ("capabilities", |i| i.effective_capabilities = Some(CapabilityInfo::default())),
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

    /// One launch info per field of the message, with a value for it alone, and what has to come of it; none if it has to be
    /// refused. A field that is not listed does not compile.
    macro_rules! every_field {
        ($($field:ident: $value:expr => $outcome:expr;)*) => {{
            let _all = ContainerLaunchInfo { $($field: $value),* };
            let one: Vec<(&str, ContainerLaunchInfo, Option<fn(&Merged) -> bool>)> = vec![$(
                (
                    stringify!($field),
                    ContainerLaunchInfo { $field: $value, ..ContainerLaunchInfo::default() },
                    $outcome,
                ),
            )*];
            one
        }};
    }

    #[test]
    fn no_field_of_a_launch_info_is_forgotten() {
        let bind = ContainerMountInfo { target: "/t".to_owned(), ..ContainerMountInfo::default() };
        let core = RLimit { r#type: Some(Type::RlmtCore.into()), soft: None, hard: None };
        let fields = every_field! {
            pre_exec_commands: vec![CommandInfo::default()] => None;
            environment: Some(environment(&[("A", "1")])) => Some(|m| m.environment != Variables::default());
            rootfs: Some("/r".to_owned()) => None;
            enter_namespaces: vec![0x2000_0000] => None;
            clone_namespaces: vec![0x2000_0000] => Some(|m| m.namespaces.pid);
            user: Some("nobody".to_owned()) => None;
            supplementary_groups: vec![7] => Some(|m| m.groups == [7]);
            command: Some(CommandInfo::default()) => None;
            working_directory: Some("/w".to_owned()) => None;
            mounts: vec![bind.clone()] => Some(|m| m.mounts.len() == 1);
            masked_paths: vec!["/p".to_owned()] => None;
            file_operations: vec![ContainerFileOperation::default()] => None;
            effective_capabilities: Some(CapabilityInfo::default()) => None;
            bounding_capabilities: Some(CapabilityInfo::default()) => None;
            rlimits: Some(RLimitInfo { rlimits: vec![core] }) => Some(|m| m.rlimits.len() == 1);
            tty_slave_path: Some("/dev/pts/0".to_owned()) => None;
            task_environment: Some(environment(&[("A", "1")])) => Some(|m| m.task_environment != Variables::default());
            task_supplementary_groups: vec![7] => None;
            no_new_privileges: Some(true) => Some(|m| m.no_new_privs);
        };
        let given = Namespaces { mount: true, ..Namespaces::NONE };
        for (field, info, outcome) in fields {
            let merged = merge(&[("a".to_owned(), info)], given);
            match (outcome, merged) {
                (Some(applied), Ok(merged)) => assert!(applied(&merged), "{field}: {merged:?}"),
                (None, Err(LaunchError::Unsupported { isolator, .. })) => assert_eq!(isolator, "a"),
                (_, merged) => panic!("{field}: {merged:?}"),
            }
        }
    }

    #[test]
    fn what_an_isolator_gets_wrong_is_told_with_its_name() {
        let at = |target: &str| ContainerLaunchInfo {
            mounts: vec![ContainerMountInfo {
                target: target.to_owned(),
                ..ContainerMountInfo::default()
            }],
            ..ContainerLaunchInfo::default()
        };
        let wrong = |info| two(ContainerLaunchInfo::default(), info).unwrap_err().to_string();
        assert_eq!(
            wrong(at("etc")),
            "isolator 'b' wants a mount at 'etc'; expected an absolute path, and no NUL in any part of a mount"
        );
        assert!(
            wrong(at("/etc")).starts_with("isolator 'b' wants mounts, but the container has no")
        );
        for task in [false, true] {
            let mut info = ContainerLaunchInfo::default();
            let variables = Some(environment(&[("A=B", "1")]));
            *(if task { &mut info.task_environment } else { &mut info.environment }) = variables;
            assert!(
                wrong(info).starts_with("isolator 'b' wants environment variable 'A=B', which")
            );
        }
    }

    #[test]
    fn a_limit_has_both_numbers_or_none() {
        let wrong = |soft, hard| {
            let one = RLimit { r#type: Some(Type::RlmtCore.into()), soft, hard };
            limit("a", &one).unwrap_err().to_string()
        };
        assert_eq!(
            wrong(Some(1), None),
            "isolator 'a' wants resource limit Core with only one of 'soft' and 'hard'; expected both, or none for no limit"
        );
        assert!(wrong(Some(2), Some(1)).contains("Core with soft 2 above hard 1"));
        let none = RLimit { r#type: Some(Type::RlmtCore.into()), soft: None, hard: None };
        assert_eq!(
            limit("a", &none).unwrap(),
            Rlimit { kind: RlimitKind::Core, soft: None, hard: None }
        );
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
