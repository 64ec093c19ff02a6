//! The harness of tests that may find out that they can't be run here: they end as *ignored*, with the reason in the
//! summary, and fail where everything has to run. libtest knows no such end, and would print `ok`.

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::ExitCode;

/// What unwinds from a test that can't be run.
struct Ignored(String);

/// Ends a test that can't be run here; fails it where everything has to run (`SEXTANT_REQUIRE_TOOLBOX=1`, `CI=true`).
pub fn ignore(reason: &str) -> ! {
    assert!(!is_everything_required(), "required: {reason}");
    // Without the panic hook, for nothing went wrong.
    resume_unwind(Box::new(Ignored(reason.to_owned())));
}

/// Whether a test that can't be run is a failure.
pub fn is_everything_required() -> bool {
    let is = |name, expected| std::env::var_os(name).is_some_and(|value| value == expected);
    is("SEXTANT_REQUIRE_TOOLBOX", "1") || is("CI", "true")
}

/// Test functions, with their names.
pub type Cases = Vec<(&'static str, fn())>;

#[allow(unused_macros, reason = "not each test program has this harness")]
/// Lists test functions by module: `cases!(module: test, test; module: test)`.
macro_rules! cases {
    ($($module:ident: $($test:ident),+);+ $(;)?) => {
        vec![$($((concat!(stringify!($module), "::", stringify!($test)), $module::$test as fn())),+),+]
    };
}
#[allow(unused_imports, reason = "not each test program has this harness")]
pub(crate) use cases;

/// Runs the tests of the suite in `tests/SUITE`.
pub fn run(suite: &str, cases: Cases) -> ExitCode {
    let trial = |(name, test): (&str, fn())| Trial::ignorable_test(name, move || complete(test));
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(suite);
    let listed = Trial::test("every_test_is_listed", move || no_libtest_below(&directory));
    let trials = cases.into_iter().map(trial).chain([listed]).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn complete(test: fn()) -> Result<Completion, Failed> {
    let Err(panic) = catch_unwind(AssertUnwindSafe(test)) else { return Ok(Completion::Completed) };
    match panic.downcast::<Ignored>() {
        Ok(ignored) => Ok(Completion::ignored_with(ignored.0)),
        Err(panic) => resume_unwind(panic),
    }
}

/// In a program with this harness the compiler leaves out what has libtest's attribute.
fn no_libtest_below(directory: &Path) -> Result<(), Failed> {
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && fs::read_to_string(&path)?.lines().any(|line| line.trim() == "#[test]")
            {
                let text = "has a #[test], which this harness doesn't see: list the function in main.rs instead";
                return Err(format!("{} {text}", path.display()).into());
            }
        }
    }
    Ok(())
}
