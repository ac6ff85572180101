//! The rules of the house (ARCHITECTURE.md), checked against cargo's own view.

use causeway_tests::{diagram, packages, reaches, root};

#[test]
fn no_crate_depends_on_a_service() {
    let packages = packages().unwrap();
    for (name, package) in packages.iter().filter(|(_, p)| p.folder.starts_with("crates/")) {
        for dependency in &package.own {
            assert!(!packages[dependency].folder.starts_with("services/"), "{name} depends on the service {dependency}");
        }
    }
}

#[test]
fn there_is_no_cycle() {
    let packages = packages().unwrap();
    for name in packages.keys() {
        assert!(!reaches(&packages, name, name), "{name} depends on itself");
    }
}

#[test]
fn the_pure_crates_depend_on_no_runtime_database_or_random_source() {
    let packages = packages().unwrap();
    let impure = ["tokio", "tokio-postgres", "deadpool-postgres", "rand", "getrandom", "quinn-udp", "tonic", "reqwest", "axum"];
    for name in ["tl", "ton", "wire", "contract", "protocol"] {
        for forbidden in impure {
            assert!(!packages[name].others.contains(forbidden), "{name} depends on {forbidden}");
        }
    }
}

#[test]
fn the_diagram_is_what_cargo_says() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let expected = diagram(&packages().unwrap());
    assert!(text.contains(&expected), "ARCHITECTURE.md must contain:\n{expected}");
}
