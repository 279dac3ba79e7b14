//! No panic of this program unwinds: its hook says what is wrong and ends it. The tables by which stacks are
//! unwound, a twelfth of the program, are of use to debuggers and profilers alone, and the compiler makes
//! them whatever it is told. Where it is asked for a small program, on Linux, the linker leaves them out.

use std::env;
use std::fs;
use std::path::Path;

const SCRIPT: &str =
    "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.eh_frame_hdr) } } INSERT AFTER .text;";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|v| v == value);
    if is("DEBUG", "false") && is("CARGO_CFG_TARGET_OS", "linux") {
        let folder = env::var("OUT_DIR").expect("cargo says where");
        let script = Path::new(&folder).join("no-unwinding.ld");
        fs::write(&script, SCRIPT).expect("the folder of a build can be written to");
        println!("cargo::rustc-link-arg-bins=-T{}", script.display());
    }
}
