//! What is made once for all scenarios of a guest.

use crate::guest::Guest;
use crate::initrd;
use crate::toolbox::{cached, contents, repository, succeed, work};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// What all scenarios of a guest share.
pub struct Base {
    /// Root file system of the host; boots write to a copy.
    pub root: PathBuf,
    /// The initrd, with sextant in it.
    pub initrd: PathBuf,
}

impl Guest {
    /// What its scenarios share, made when it is first asked for.
    ///
    /// # Errors
    /// What the tools said; the same each time.
    pub fn base(self) -> Result<&'static Base, String> {
        /// One for each guest.
        static BASES: [OnceLock<Result<Base, String>>; 5] = [const { OnceLock::new() }; 5];
        BASES[self as usize].get_or_init(|| self.make()).as_ref().map_err(Clone::clone)
    }

    fn make(self) -> Result<Base, String> {
        Ok(Base { root: self.root()?, initrd: initrd::base(self)? })
    }

    fn root(self) -> Result<PathBuf, String> {
        let output = work().join(format!("root-{}.img", self.name()));
        let script = repository().join("qemu/guest/make-root");
        let witness = repository().join("qemu/guest/host");
        let quick = script.with_file_name("quick");
        let mut inputs = vec![self.tree().stamp(), fs::read(&script).unwrap(), fs::read(quick).unwrap()];
        inputs.extend(contents(&witness));
        cached(&output, &inputs, || {
            succeed(Command::new(&script).arg(self.tree().path()).arg(&witness).arg(&output)).map(drop)
        })
    }
}
