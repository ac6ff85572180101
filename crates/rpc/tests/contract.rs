//! The public contract: descriptors, error codes and their pages.

use std::collections::BTreeSet;
use std::path::Path;

use prost::Message;
use prost_types::{FileDescriptorSet, field_descriptor_proto::Type};
use rpc::ErrorCode;

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(rpc::FILE_DESCRIPTOR_SET).unwrap()
}

#[test]
fn every_error_code_has_a_page_and_every_page_a_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
    let pages: BTreeSet<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("CW"))
        .collect();
    let expected: BTreeSet<String> = ErrorCode::ALL.iter().map(|code| format!("{code}.md")).collect();
    assert_eq!(pages, expected);
    for code in ErrorCode::ALL {
        let page = std::fs::read_to_string(folder.join(format!("{code}.md"))).unwrap();
        assert!(page.starts_with(&format!("# {code}: {}\n", code.text())), "title of {code}.md");
        assert!(page.contains(&format!("gRPC status: `{:?}`", code.status())), "status in {code}.md");
        assert_eq!(ErrorCode::parse(&code.to_string()), Some(*code));
    }
}

#[test]
fn codes_named_in_the_protos_exist() {
    for file in descriptors().file {
        let comments = file.source_code_info.into_iter().flat_map(|info| info.location).filter_map(|l| l.leading_comments);
        for comment in comments {
            for word in
                comment.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() == 6 && word.starts_with("CW"))
            {
                assert!(ErrorCode::parse(word).is_some(), "{word} in {}", file.name.as_deref().unwrap_or_default());
            }
        }
    }
}

#[test]
fn the_protos_keep_their_conventions() {
    for file in descriptors().file.iter().filter(|file| file.package().starts_with("causeway.")) {
        assert!(file.package().ends_with(".v1"), "{}", file.name());
        for enumeration in &file.enum_type {
            assert!(enumeration.value[0].name().ends_with("_UNSPECIFIED"), "{}", enumeration.name());
        }
        for message in &file.message_type {
            for field in &message.field {
                if field.name().ends_with("_nano") {
                    assert_eq!(field.r#type(), Type::String, "{}.{}", message.name(), field.name());
                }
                if field.name() == "request_id" && message.name().ends_with("Request") {
                    assert_eq!(field.r#type(), Type::String, "{}.request_id", message.name());
                }
            }
        }
        for method in file.service.iter().flat_map(|service| &service.method) {
            if method.client_streaming() {
                continue;
            }
            let type_name = |full: &str| full.rsplit('.').next().unwrap().to_owned();
            assert_eq!(type_name(method.input_type()), format!("{}Request", method.name()));
            assert_eq!(type_name(method.output_type()), format!("{}Response", method.name()));
        }
    }
}

#[test]
fn every_mutating_call_of_the_api_has_a_request_id() {
    let mutating = [
        "OpenChannel",
        "TopUp",
        "Withdraw",
        "CloseChannel",
        "LiftSuspension",
        "OpenVirtual",
        "SendTransfer",
        "CloseVirtual",
        "ReportAttempt",
    ];
    let messages: Vec<_> = descriptors().file.into_iter().flat_map(|file| file.message_type).collect();
    for call in mutating {
        let request = messages.iter().find(|message| message.name() == format!("{call}Request")).unwrap();
        assert!(request.field.iter().any(|field| field.name() == "request_id"), "{call}");
    }
}
