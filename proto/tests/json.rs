//! JSON as Mesos writes and reads it, lenience included.

use mezzo_proto::json::{from_str, to_string};
use mezzo_proto::required;
use mezzo_proto::v1;
use mezzo_proto::v1::scheduler;
use prost::Message as _;

#[test]
fn enums_are_names_bytes_are_base64_and_big_integers_are_numbers() {
    let status = v1::TaskStatus {
        task_id: v1::TaskId { value: "t".into() },
        state: v1::TaskState::TaskRunning.into(),
        uuid: Some(vec![0xff; 3].into()),
        unreachable_time: Some(v1::TimeInfo { nanoseconds: i64::MAX }),
        timestamp: Some(1.0),
        ..Default::default()
    };
    let json = to_string(&status).unwrap();
    assert_eq!(
        json,
        r#"{"task_id":{"value":"t"},"state":"TASK_RUNNING","timestamp":1.0,"uuid":"////","unreachable_time":{"nanoseconds":9223372036854775807}}"#
    );
    assert_eq!(from_str::<v1::TaskStatus>(&json).unwrap(), status);
}

#[test]
fn text_beyond_ascii_is_escaped_so_that_bytes_and_characters_are_as_many() {
    let text = v1::Parameter { key: "ü".into(), value: "\u{1F600}\n".into() };
    let json = to_string(&text).unwrap();
    assert_eq!(json, r#"{"key":"\u00fc","value":"\ud83d\ude00\n"}"#);
    assert_eq!(from_str::<v1::Parameter>(&json).unwrap(), text);
}

#[test]
fn unset_fields_with_a_default_of_their_own_are_written() {
    let json = to_string(&v1::Filters::default()).unwrap();
    assert_eq!(json, r#"{"refuse_seconds":5.0}"#);
}

#[test]
fn a_duration_is_an_object_and_infinity_a_string() {
    let drain = v1::master::call::DrainAgent {
        agent_id: v1::AgentId { value: "a".into() },
        max_grace_period: Some(prost_types::Duration { seconds: 10, nanos: 5 }),
        mark_gone: None,
    };
    let json = to_string(&drain).unwrap();
    assert_eq!(
        json,
        r#"{"agent_id":{"value":"a"},"max_grace_period":{"seconds":10,"nanos":5},"mark_gone":false}"#
    );
    let scalar = v1::value::Scalar { value: f64::INFINITY };
    assert_eq!(to_string(&scalar).unwrap(), r#"{"value":"Infinity"}"#);
    assert_eq!(from_str::<v1::value::Scalar>(r#"{"value":"Infinity"}"#).unwrap(), scalar);
}

#[test]
fn reading_is_lenient_where_real_clients_are_sloppy() {
    let call: scheduler::Call = from_str(
        r#"{"type":"ACCEPT","slave_id":{"value":"old"},"framework_id":{"value":"f"},
            "accept":{"offer_ids":{"value":"o"},"filters":{"refuse_seconds":"7"},
            "operations":[{"type":"NO_SUCH_OPERATION","launch":null}]}}"#,
    )
    .unwrap();
    let accept = call.accept.unwrap();
    assert_eq!(accept.offer_ids, [v1::OfferId { value: "o".into() }]);
    assert_eq!(accept.filters.unwrap().refuse_seconds(), 7.0);
    assert_eq!(accept.operations[0].r#type, None);
    let range: v1::value::Range = from_str(r#"{"begin":"31000","end":32000.0}"#).unwrap();
    assert_eq!((range.begin, range.end), (31000, 32000));
    let command: v1::CommandInfo = from_str(r#"{"shell":"false"}"#).unwrap();
    assert_eq!(command.shell, Some(false));
}

#[test]
fn what_does_not_fit_a_field_is_refused_with_its_path() {
    let refused = |json| from_str::<scheduler::Call>(json).unwrap_err().to_string();
    assert_eq!(
        refused(r#"{"accept":{"offer_ids":[{"value":"a"},{"value":7}]}}"#),
        "accept.offer_ids[1].value: is 7, expected a string"
    );
    assert_eq!(refused(r#"{"kill":"t"}"#), r#"kill: is "t", expected an object"#);
    assert_eq!(
        refused(r#"{"type":"KILL","kill":{}}"#),
        "kill.task_id: required field of mezzo.v1.scheduler.Call is not set"
    );
    let refused = |json| from_str::<v1::CommandInfo>(json).unwrap_err().to_string();
    assert_eq!(refused(r#"{"shell":0}"#), "shell: is 0, expected true or false");
    assert!(refused("{").starts_with("not JSON: "));
    let refused = |json| from_str::<v1::Port>(json).unwrap_err().to_string();
    assert_eq!(refused(r#"{"number":-1}"#), "number: is -1, expected a 32-bit integer, 0 or more");
    assert_eq!(
        refused(r#"{"number":1.5}"#),
        "number: is 1.5, expected a 32-bit integer, 0 or more"
    );
}

#[test]
fn an_unknown_name_of_a_required_enum_is_refused() {
    let refused = from_str::<v1::Value>(r#"{"type":"MATRIX"}"#).unwrap_err();
    assert_eq!(refused.to_string(), r#"type: is "MATRIX", expected a known name of an enum value"#);
}

#[test]
fn nesting_without_end_is_refused() {
    let deep = format!("{}{}", r#"{"parent":"#.repeat(5000), "}".repeat(5000));
    assert!(from_str::<v1::ContainerId>(&deep).is_err());
}

#[test]
fn a_missing_required_field_in_binary_is_refused_with_its_path() {
    let call = scheduler::Call {
        r#type: Some(scheduler::call::Type::Kill.into()),
        kill: Some(scheduler::call::Kill::default()),
        ..Default::default()
    };
    // A generated message always writes its required fields, so they are cut out by hand: the body
    // of KILL (field 6) becomes empty.
    let bytes = [0x10, 0x06, 0x32, 0x00];
    assert_eq!(
        required::check::<scheduler::Call>(&bytes).unwrap_err().to_string(),
        "kill.task_id: required field of mezzo.v1.scheduler.Call is not set"
    );
    assert_eq!(required::check::<scheduler::Call>(&call.encode_to_vec()), Ok(()));
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    for bytes in
        [&b"\x32\x7f"[..], b"\x80", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x0b"]
    {
        assert!(required::check::<scheduler::Call>(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn containers_nested_too_deep_are_refused_in_binary() {
    let mut id = v1::ContainerId { value: "c".into(), parent: None };
    for _ in 0..150 {
        id = v1::ContainerId { value: "c".into(), parent: Some(Box::new(id)) };
    }
    assert!(required::check::<v1::ContainerId>(&id.encode_to_vec()).is_err());
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = required::check::<scheduler::Call>(&bytes);
        let _ = required::check::<v1::link::FromAgent>(&bytes);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*") {
        let _ = from_str::<scheduler::Call>(&text);
    }

    #[test]
    fn what_is_written_reads_the_same(key in "\\PC*", number in proptest::num::f64::NORMAL, whole in proptest::num::i64::ANY) {
        let role = v1::WeightInfo { weight: number, role: Some(key) };
        proptest::prop_assert_eq!(from_str::<v1::WeightInfo>(&to_string(&role).unwrap()).unwrap(), role);
        let time = v1::TimeInfo { nanoseconds: whole };
        proptest::prop_assert_eq!(from_str::<v1::TimeInfo>(&to_string(&time).unwrap()).unwrap(), time);
    }
}
