//! Test vectors: our golden file in `tests/vectors` at the workspace root, always, and the whole file of the reference where its folder
//! exists (`../shared/vectors` beside the workspace, or `CAUSEWAY_VECTORS`).

use std::path::{Path, PathBuf};

use serde_json::Value;
use ton::Cell;

/// Runs a check on the golden file, and on the reference's if it is there, of which the golden one must be a part.
pub fn each(file: &str, check: impl Fn(&Value)) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let golden = read(&root.join("tests/vectors").join(file)).expect("the golden file is part of the repository");
    check(&golden);
    let folder = std::env::var_os("CAUSEWAY_VECTORS").map_or(root.join("../shared/vectors"), PathBuf::from);
    match read(&folder.join(file)) {
        Some(reference) => {
            assert!(is_part(&golden, &reference), "{file}: the golden file is not a part of the reference's");
            check(&reference);
        }
        None => println!("{file}: skipped the reference's vectors, there is no {}", folder.display()),
    }
}

fn read(path: &Path) -> Option<Value> {
    Some(serde_json::from_str(&std::fs::read_to_string(path).ok()?).expect("vectors are JSON"))
}

/// Whether every member is in the whole, and every element in the list.
fn is_part(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|other| is_part(value, other)))
        }
        (Value::Array(part), Value::Array(whole)) => part.iter().all(|value| whole.iter().any(|other| is_part(value, other))),
        _ => part == whole,
    }
}

pub fn list(v: &Value) -> &[Value] {
    v.as_array().expect("a list")
}

pub fn text(v: &Value) -> &str {
    v.as_str().expect("a text")
}

pub fn bytes(v: &Value) -> Vec<u8> {
    hex::decode(text(v)).expect("hex")
}

pub fn array<const N: usize>(v: &Value) -> [u8; N] {
    bytes(v).try_into().expect("the right length")
}

/// A number, also one written as text.
pub fn number(v: &Value) -> u128 {
    match v {
        Value::String(text) => text.parse().expect("a number"),
        _ => v.as_u64().expect("a number").into(),
    }
}

/// A cell that the file gives as BoC.
pub fn cell(v: &Value) -> Cell {
    let cell = ton::decode_boc(&bytes(&v["boc"])).expect("a BoC");
    assert_eq!(ton::hash(cell.as_ref()), array(&v["hash"]));
    cell
}

/// Ours is the cell of the file.
pub fn assert_cell(ours: &Cell, v: &Value) {
    assert_eq!(hex::encode(ton::hash(ours.as_ref())), text(&v["hash"]));
    if v["boc"].is_string() {
        assert_eq!(ours, &cell(v));
    }
}
