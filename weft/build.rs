//! `WEFT_LINK_ORDER` names a script for the linker that puts the functions which calls run next to each
//! other (`make release` writes one). GNU ld and LLD take it, mold takes no scripts.

fn main() {
    println!("cargo::rerun-if-env-changed=WEFT_LINK_ORDER");
    if let Some(script) = std::env::var_os("WEFT_LINK_ORDER") {
        println!("cargo::rerun-if-changed={}", script.display());
        println!("cargo::rustc-link-arg-bins=-T{}", script.display());
    }
}
