//! System call filters (seccomp(2)): lists of permitted calls, compiled.

use nix::errno::Errno;
use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// The filters of a list, in the order in which they are installed. If two disagree, the stricter one applies.
pub(super) type Filters = [BpfProgram; 2];

/// A condition on an argument of a system call, by its number: of its lower 32 bits, those in `mask` must be `value`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Argument {
    pub(super) number: u8,
    pub(super) mask: libc::c_int,
    pub(super) value: libc::c_int,
}

/// Permitted system calls. Others fail with `EPERM`. Those of another architecture (i386) end the process.
#[derive(Debug)]
pub(super) struct Permitted(BTreeMap<i64, Vec<SeccompRule>>);

impl Permitted {
    /// Permits `calls` with any arguments.
    pub(super) fn new<'c>(calls: impl IntoIterator<Item = &'c libc::c_long>) -> Self {
        let mut permitted: BTreeMap<_, _> = calls.into_iter().map(|call| (*call, Vec::new())).collect();
        // Answered with ENOSYS, so that the C library falls back to clone(2), whose flags can be filtered.
        permitted.insert(libc::SYS_clone3, Vec::new());
        Self(permitted)
    }

    /// Permits `call` too, where all of its `arguments` are as they must be.
    pub(super) fn with(mut self, call: libc::c_long, arguments: &[Argument]) -> Result<Self, BackendError> {
        let conditions = arguments.iter().map(|argument| {
            let bits = |number: libc::c_int| u64::from(number.cast_unsigned());
            let matches = SeccompCmpOp::MaskedEq(bits(argument.mask));
            SeccompCondition::new(argument.number, SeccompCmpArgLen::Dword, matches, bits(argument.value))
        });
        self.0.insert(call, vec![SeccompRule::new(conditions.collect::<Result<_, _>>()?)?]);
        Ok(self)
    }

    /// Compiles the list.
    pub(super) fn compile(self) -> Result<Filters, BackendError> {
        let arch: TargetArch = std::env::consts::ARCH.try_into()?;
        let errno = |errno: Errno| SeccompAction::Errno((errno as i32).unsigned_abs());
        let allowed = SeccompFilter::new(self.0, errno(Errno::EPERM), SeccompAction::Allow, arch)?;
        let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        let without_clone3 = SeccompFilter::new(clone3, SeccompAction::Allow, errno(Errno::ENOSYS), arch)?;
        Ok([without_clone3.try_into()?, allowed.try_into()?])
    }
}
