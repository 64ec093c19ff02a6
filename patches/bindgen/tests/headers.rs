//! Compares the recorded bindings with the headers of this machine, by the C compiler.
#![allow(clippy::unwrap_used)]

use bindgen::Builder;
use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs, process};

/// The header of `devicemapper-sys` for semaphores defines the union itself, as the manual page of semctl(2) demands.
const SEMAPHORES: &str = "#include <sys/sem.h>
union semun { int val; struct semid_ds *buf; unsigned short *array; struct seminfo *__buf; };
";
const DEVICE_MAPPER: &str = "#include <linux/dm-ioctl.h>\n#include <libdevmapper.h>\n";
const LOOP: &str = "#include <linux/loop.h>";

/// Calls `then` with the path of a file of its own, which is removed afterwards.
fn with_file<T>(name: &str, then: impl FnOnce(&Path) -> T) -> T {
    let path = env::temp_dir().join(format!("sextant-{}-{name}", process::id()));
    let result = then(&path);
    let _ = fs::remove_file(&path);
    result
}

fn bindings(name: &str, header: &str) -> String {
    with_file(&format!("{name}.rs"), |path| {
        Builder::default().header_contents("wrapper.h", header).generate().unwrap().write_to_file(path).unwrap();
        fs::read_to_string(path).unwrap()
    })
}

/// Returns as C what a line asserts: a constant, or the size, the alignment or an offset of a structure.
fn assertion(line: &str) -> Option<String> {
    if let Some(constant) = line.strip_prefix("pub const ") {
        let (name, rest) = constant.split_once(": ")?;
        let value = rest.split_once(" = ")?.1.strip_suffix(';')?;
        return Some(match value.strip_prefix("b\"") {
            Some(text) => format!("__builtin_strcmp({name}, \"{}) == 0", text.replace("\\0", "")),
            // The version of the interface grows with the kernel; what was there stays.
            None if name.starts_with("DM_VERSION_") && !name.ends_with("CMD") => format!("{name} >= 0"),
            None => format!("{name} == {value}"),
        });
    }
    let (what, rest) = line.trim_start().strip_prefix("[\"")?.split_once("\"][")?;
    let value = rest.rsplit_once(" - ")?.1.strip_suffix("usize];")?;
    let (kind, of) = what.rsplit_once(' ')?;
    let (name, field) = of.split_once("::").unwrap_or((of, ""));
    let of = format!("{} {name}", if name == "semun" { "union" } else { "struct" });
    match kind {
        "Size of" => Some(format!("sizeof({of}) == {value}")),
        "Alignment of" => Some(format!("_Alignof({of}) == {value}")),
        "Offset of field:" => Some(format!("offsetof({of}, {field}) == {value}")),
        _ => None,
    }
}

fn compile(name: &str, header: &str, assertions: &[String]) -> Output {
    let asserted: Vec<String> = assertions.iter().map(|it| format!("_Static_assert({it}, \"\");\n")).collect();
    with_file(&format!("{name}.c"), |path| {
        fs::write(path, format!("#define _GNU_SOURCE\n#include <stddef.h>\n{header}\n{}", asserted.concat())).unwrap();
        Command::new("cc").args(["-fsyntax-only", "-x", "c"]).arg(path).output().unwrap()
    })
}

/// `count` is the number of lines with an assertion, so that none is overlooked.
fn compare(name: &str, header: &str, count: usize) {
    let text = bindings(name, header).replace("]\n        [", "][");
    let assertions: Vec<String> = text.lines().filter_map(assertion).collect();
    assert_eq!(assertions.len(), count, "{assertions:#?}");
    let output = compile(name, header, &assertions);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn device_mapper_is_as_recorded() {
    compare("dm", DEVICE_MAPPER, 92);
}

#[test]
fn semaphores_are_as_recorded() {
    compare("sem", SEMAPHORES, 21);
}

#[test]
fn loop_devices_are_as_recorded() {
    compare("loop", LOOP, 25);
}

#[test]
fn a_difference_is_found() {
    for wrong in
        ["LOOP_SET_FD == 19457", "sizeof(struct loop_info64) == 231", "offsetof(struct loop_info64, lo_flags) == 0"]
    {
        assert!(!compile("wrong", LOOP, &[wrong.to_owned()]).status.success(), "{wrong}");
    }
}

#[test]
fn other_headers_have_no_bindings() {
    let error = Builder::default().header_contents("wrapper.h", "#include <linux/nbd.h>").generate().unwrap_err();
    assert!(error.to_string().contains("no bindings are recorded"), "{error}");
}
