//! The grammar of flags, and JSON in its place.

use std::error::Error;

use proptest::prelude::*;

use super::any::plain;
use super::{Resources, int, parse, role};
use crate::{DiskSourceKind, ParsedResources, Role};

/// The message with those of its sources, as a flag's error is shown.
fn error(text: &str) -> String {
    let error = Resources::parse(text, &Role::star()).unwrap_err();
    let sources = std::iter::successors(error.source(), |source| (*source).source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

#[test]
fn the_usual_text_is_read_and_shown_again() {
    let text = "cpus:2;mem:1024;disk:4096;ports:[31000-32000]";
    assert_eq!(parse(text).to_string(), text);
    assert_eq!(parse(" mem : 1024 ; cpus:2; disk:4096;ports:[31000 - 32000] ;").to_string(), text);
    assert_eq!(parse("nics:{b,a};bandwidth:5").to_string(), "bandwidth:5;nics:{a,b}");
    assert!(parse("").is_empty() && parse(";;").is_empty());
}

#[test]
fn a_role_in_parentheses_and_the_default_role_reserve() {
    let text = "cpus( a/b ):2;mem(*):64;disk:1";
    let resources = Resources::parse(text, &role("def")).unwrap();
    assert_eq!(resources.to_string(), "cpus(a/b):2;mem:64;disk(def):1");
}

#[test]
fn the_same_name_twice_adds_up() {
    assert_eq!(parse("cpus:1;cpus(a):1;cpus:2").to_string(), "cpus:3;cpus(a):1");
}

#[test]
fn an_amount_of_zero_is_nothing_but_mentioned() {
    let parsed = ParsedResources::parse("gpus:0;cpus:1", &Role::star()).unwrap();
    assert_eq!(parsed.resources, parse("cpus:1"));
    assert_eq!(parsed.mentioned.into_iter().collect::<Vec<_>>(), ["cpus", "gpus"]);
}

#[test]
fn what_is_wrong_with_a_text_is_said_in_one_line() {
    for (text, expected) in [
        (
            "cpus",
            "\"cpus\" is not an item such as cpus:2 or mem(role):1024: expected exactly one ':'",
        ),
        (
            "cpus:1:2",
            "\"cpus:1:2\" is not an item such as cpus:2 or mem(role):1024: expected exactly one ':'",
        ),
        (":1", "\":1\" has no name; expected one such as cpus in front of the ':'"),
        (
            "cpus(a:1",
            "\"cpus(a:1\" has a parenthesis too few or too many; expected name(role):value",
        ),
        (
            "cpus)a(:1",
            "\"cpus)a(:1\" has a parenthesis too few or too many; expected name(role):value",
        ),
        (
            "cpus:-1",
            "resource cpus cannot be \"-1\"; expected 0, or a number from 0.001 to 1000000000000",
        ),
        (
            "cpus:NaN",
            "resource cpus cannot be \"NaN\"; expected 0, or a number from 0.001 to 1000000000000",
        ),
        (
            "mem:1e308",
            "resource mem cannot be \"1e308\"; expected 0, or a number from 0.001 to 1000000000000",
        ),
        (
            "mem:1e-9",
            "resource mem cannot be \"1e-9\"; expected 0, or a number from 0.001 to 1000000000000",
        ),
        ("gpus:0.5", "resource gpus cannot be 0.5; expected a whole number, as GPUs are not split"),
        ("ports:80", "resource ports cannot be 80; expected ranges such as [31000-32000]"),
        (
            "x:inf",
            "resource x cannot be \"inf\"; expected a number that is not negative, [from-to,…] or {name,…}",
        ),
        (
            "ports:[5-1]",
            "resource ports has no proper value: \"[5-1]\" is not a value: range 5-1 begins after its end; \
             expected a number, [from-to,…] or {name,…}",
        ),
    ] {
        assert_eq!(error(text), expected);
    }
    assert!(
        error("cpus(a//b):1")
            .starts_with("resource cpus is for no proper role: role \"a//b\" has an empty")
    );
}

#[test]
fn json_says_what_text_cannot() {
    let text = r#"[
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": 24}, "unknown": 1},
        {"name": "mem", "type": "SCALAR", "scalar": {"value": "512"}, "role": "a"},
        {"name": "disk", "type": "SCALAR", "scalar": {"value": 2048},
         "disk": {"source": {"type": "MOUNT", "mount": {"root": "/mnt/a"}}},
         "reservations": [{"type": "STATIC", "role": "x"}, {"type": "DYNAMIC", "role": "x/y"}]},
        {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 9}]}}
    ]"#;
    let resources = Resources::parse(text, &role("def")).unwrap();
    assert_eq!(resources.reserved_to(&role("def")).to_string(), "cpus(def):24;ports(def):[1-9]");
    assert_eq!(resources.reserved_to(&role("a")).mem(), int(512));
    let disk = resources.reserved_to(&role("x/y"));
    let source = disk.iter().next().unwrap().terms().disk.as_ref().unwrap().source.clone().unwrap();
    assert_eq!((source.kind, source.root.as_deref()), (DiskSourceKind::Mount, Some("/mnt/a")));
}

#[test]
fn what_is_wrong_with_json_is_named_by_its_place() {
    let volume = r#"[{"name":"disk","type":"SCALAR","scalar":{"value":1},"disk":{"persistence":{"id":"v"}}}]"#;
    assert_eq!(
        error(volume),
        "a field of the JSON is wrong: resources[0].disk.volume: expected nothing, as agents cannot \
         start with such, found a value"
    );
    let negative = r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":-1}}]"#;
    assert!(
        error(negative).contains("resources[0].scalar.value: expected 0, or a number from 0.001")
    );
    assert!(error("[{}]").contains("[0]: "), "{}", error("[{}]"));
    assert!(error("[1").starts_with("the JSON is not a list of resources: "));
}

proptest! {
    #[test]
    fn what_a_flag_can_say_is_shown_as_the_flag(list in prop::collection::vec(plain(0), 0..8)) {
        let resources: Resources = list.into_iter().collect();
        prop_assert_eq!(parse(&resources.to_string()), resources);
    }

    #[test]
    fn any_text_is_taken_or_refused_without_panic(text in "\\PC*|[a-c():;\\[\\]{}0-9,*/ -]*") {
        let _ = Resources::parse(&text, &Role::star());
    }

    #[test]
    fn text_near_the_grammar_is_taken_or_refused_without_panic(
        text in "((cpus|ports|x)(\\([a-b/*]{0,3}\\))?:(-?[0-9]{1,25}(\\.[0-9]{1,9})?|\\[[0-9,-]{0,30}\\]);){0,5}",
    ) {
        if let Ok(resources) = Resources::parse(&text, &Role::star()) {
            prop_assert_eq!(parse(&resources.to_string()), resources);
        }
    }
}
