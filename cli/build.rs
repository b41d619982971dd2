//! The linker puts the functions that calls run next to each other (`order.ld`, `make order`).

#![expect(clippy::disallowed_methods, reason = "the variables are Cargo's")]

fn main() {
    println!("cargo::rerun-if-changed=order.ld");
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    if of("PROFILE") == "release" && of("CARGO_CFG_TARGET_OS") == "linux" {
        let directory = of("CARGO_MANIFEST_DIR");
        println!("cargo::rustc-link-arg-bins=-T{directory}/order.ld");
    }
}
