//! The linker puts the functions that calls run next to each other (`order.ld`, `make order`). For a linker
//! that takes no scripts, such as mold, `WEFT_LINK_ORDER=no` leaves that out.

#![expect(clippy::disallowed_methods, reason = "the variables are of the build")]

fn main() {
    println!("cargo::rerun-if-changed=order.ld");
    println!("cargo::rerun-if-env-changed=WEFT_LINK_ORDER");
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    let is_wanted = of("WEFT_LINK_ORDER") != "no";
    if is_wanted && of("PROFILE") == "release" && of("CARGO_CFG_TARGET_OS") == "linux" {
        let directory = of("CARGO_MANIFEST_DIR");
        println!("cargo::rustc-link-arg-bins=-T{directory}/order.ld");
    }
}
