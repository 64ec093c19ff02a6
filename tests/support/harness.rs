//! The harness of tests that may find out that they can't be run here, or not all of them: they end as *ignored*, with the
//! reason in the summary, and fail where everything has to run. libtest knows no such end, and would print `ok`.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![allow(clippy::expect_used)]

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::cell::RefCell;
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

thread_local! {
    /// What the test that runs in this thread has left out; `None` while none does.
    static LEFT_OUT: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Notes that the test leaves out something that can't be run here, or all of it. It ends as ignored if nothing else is
/// wrong; where everything has to run, it fails at once.
pub fn left_out(reason: &str) {
    assert!(!is_everything_required(), "required: {reason}");
    left_out_everywhere(reason);
}

/// The same for what isn't required anywhere (docs/testing.md).
pub fn left_out_everywhere(reason: &str) {
    LEFT_OUT.with_borrow_mut(|reasons| {
        // With libtest, or in another thread, it would read as passed.
        let reasons = reasons.as_mut().expect("this harness runs the test in this thread");
        if reasons.iter().all(|known| known != reason) {
            reasons.push(reason.to_owned());
        }
    });
}

/// Whether a test that can't be run is a failure.
pub fn is_everything_required() -> bool {
    let is = |name, expected| std::env::var_os(name).is_some_and(|value| value == expected);
    is("SEXTANT_REQUIRE_TOOLBOX", "1") || is("CI", "true")
}

/// Test functions, with their names.
pub type Cases = Vec<(&'static str, fn())>;

/// Lists test functions by module: `cases!(module: test, test; crate: test)`.
#[macro_export]
macro_rules! cases {
    ($($module:ident: $($test:ident),+);+ $(;)?) => {
        vec![$($((concat!(stringify!($module), "::", stringify!($test)), $module::$test as fn())),+),+]
    };
}

/// Runs the tests of the suite in `tests/SUITE`, a directory or a file.
pub fn run(suite: &str, cases: Cases) -> ExitCode {
    let trial = |(name, test): (&'static str, fn())| {
        Trial::ignorable_test(name.strip_prefix("crate::").unwrap_or(name), move || complete(test))
    };
    let path = crate::repository().join("tests").join(suite);
    let listed = Trial::test("every_test_is_listed", move || no_libtest_in(&path));
    let trials = cases.into_iter().map(trial).chain([listed]).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn complete(test: fn()) -> Result<Completion, Failed> {
    LEFT_OUT.set(Some(Vec::new()));
    let result = catch_unwind(AssertUnwindSafe(test));
    let left_out = LEFT_OUT.take().unwrap_or_default();
    match result {
        Ok(()) if left_out.is_empty() => Ok(Completion::Completed),
        Ok(()) => Ok(Completion::ignored_with(left_out.join("; "))),
        Err(panic) => match panic.downcast::<Ignored>() {
            Ok(ignored) => Ok(Completion::ignored_with(ignored.0)),
            Err(panic) => resume_unwind(panic),
        },
    }
}

/// In a program with this harness the compiler leaves out what has libtest's attribute.
fn no_libtest_in(path: &Path) -> Result<(), Failed> {
    let mut paths = vec![path.to_owned()];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(path)? {
                paths.push(entry?.path());
            }
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && fs::read_to_string(&path)?.lines().any(|line| line.trim() == "#[test]")
        {
            let text = "has a #[test], which this harness doesn't see: list the function where it is run instead";
            return Err(format!("{} {text}", path.display()).into());
        }
    }
    Ok(())
}
