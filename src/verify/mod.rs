//! From a file to evidence: the way every image takes, whoever asks.
//!
//! ```text
//! Candidate ─► Ddi ─► SignedRoot ─► IntactImage ─► VerifiedImage
//!  a name      shape   signature     every byte     mountable, and an extension for this host
//! ```
//!
//! Each step takes what the one before it made and can be made by no other; the last is what
//! [`crate::stage`] takes. No file system is looked into before all of its bytes have been checked.

mod activation;
pub mod cms;
mod contents;
mod der;
mod guard;
mod signature;

pub use activation::{Activate, ActivationError, InProcess, Look};
pub use contents::{ContentsError, IntactImage};
pub use der::DerError;
pub use guard::guard;
pub use signature::{SignatureError, SignedRoot};

use crate::extension::{self, ExtensionName, HostRelease, LookupError};
use crate::image::{Architecture, Candidate, Class, Ddi};
use crate::io::{FileSource, ReadAt};
use crate::policy::Policy;
use crate::reason::{Reason, Refusal};
use crate::stage::{Custody, Holding};
use crate::trust::{Anchor, TrustStore};
use crate::verity::RootHash;
use std::time::SystemTime;

/// What an extension must be meant for: a system that has booted, as opposed to an initrd or a portable
/// service (os-release(5), `SYSEXT_SCOPE`).
const SCOPE: &str = "system";

/// What came to light about an image, accepted or not.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// The signed root hash; `None` until its signature has been verified.
    pub root_hash: Option<RootHash>,
    /// Who signed it.
    pub signer: Option<Anchor>,
    /// What a person should know though it changes nothing.
    pub warnings: Vec<String>,
}

/// An image of which everything has been verified. Only [`Verifier::verify`] makes one.
#[derive(Debug)]
pub struct VerifiedImage {
    holding: Holding,
    signed: SignedRoot,
}

impl VerifiedImage {
    /// The extension's name.
    #[must_use]
    pub fn name(&self) -> &ExtensionName {
        self.holding.name()
    }

    /// What it extends.
    #[must_use]
    pub fn class(&self) -> Class {
        self.holding.class()
    }

    /// The signed root hash that all of its bytes were found to give.
    #[must_use]
    pub fn root_hash(&self) -> &RootHash {
        self.signed.root_hash()
    }

    /// Who signed it.
    #[must_use]
    pub fn signer(&self) -> &Anchor {
        self.signed.signer()
    }

    /// The very bytes that were verified.
    #[must_use]
    pub fn into_holding(self) -> Holding {
        self.holding
    }
}

/// What images are verified against.
pub struct Verifier<'a> {
    /// The configuration.
    pub policy: &'a Policy,
    /// The trust anchors.
    pub trust: &'a TrustStore,
    /// What the partitions must be for.
    pub architecture: Architecture,
    /// The system to be extended, where it is known.
    pub host: Option<&'a HostRelease>,
    /// Who mounts the file system.
    pub activation: &'a dyn Activate,
    /// Threads that hash.
    pub threads: usize,
    /// The time, for warnings.
    pub now: SystemTime,
}

impl Verifier<'_> {
    /// Verifies one image. `name_taken` says whether one of this name has been accepted before.
    ///
    /// # Errors
    /// The first rule that is broken. What came to light until then is in `findings`.
    pub fn verify(
        &self,
        candidate: Candidate,
        name_taken: bool,
        custody: &dyn Custody,
        findings: &mut Findings,
    ) -> Result<VerifiedImage, Refusal> {
        let (ddi, signed) = self.read_signed(candidate.source(), findings)?;
        self.policy.admit_root_hash(signed.root_hash())?;

        // From here on only bytes count that nobody else can change. Where there is no room for them the
        // rules are applied all the same, for an image with a worse fault deserves to be told so.
        let (holding, shortage) = if name_taken {
            let detail = format_args!("an image named \"{}\" was accepted before", candidate.name());
            let refusal = Refusal::new(Reason::DuplicateName, detail);
            (Holding::in_place(candidate), Some(refusal))
        } else {
            custody.take(candidate)
        };
        if holding.is_copy()
            && self.read_signed(holding.source(), &mut Findings::default())? != (ddi.clone(), signed.clone())
        {
            return Err(Refusal::new(Reason::Unreadable, "the image changed while it was copied"));
        }
        findings.warnings.extend(holding.remark().map(str::to_owned));
        self.check_contents(&holding, &ddi, &signed, findings)?;
        holding.check_unchanged()?;
        match shortage {
            Some(refusal) => Err(refusal),
            None => Ok(VerifiedImage { holding, signed }),
        }
    }

    fn read_signed(&self, source: &FileSource, findings: &mut Findings) -> Result<(Ddi, SignedRoot), Refusal> {
        let ddi = Ddi::read(source, self.architecture).map_err(|error| Refusal::new(error.reason(), &error))?;
        let signed = SignedRoot::verify(ddi.claim(), self.trust)?;
        findings.root_hash = Some(signed.root_hash().clone());
        findings.signer = Some(signed.signer().clone());
        findings.warnings.extend(signed.warnings(ddi.claim(), self.now));
        Ok((ddi, signed))
    }

    fn check_contents(
        &self,
        holding: &Holding,
        ddi: &Ddi,
        signed: &SignedRoot,
        findings: &mut Findings,
    ) -> Result<(), Refusal> {
        let source: &dyn ReadAt = holding.source();
        let intact = IntactImage::check(source, ddi, signed, self.threads)
            .map_err(|error| Refusal::new(error.reason(), &error))?;
        findings.warnings.extend(intact.warnings(ddi));
        let class = holding.class();
        self.activation
            .activate(&intact, &mut |tree| {
                let lookup = |error: LookupError| Refusal::new(error.reason(), &error);
                let release = extension::find_release(tree, class, holding.name()).map_err(lookup)?;
                let judge = |host| {
                    extension::judge(&release.file, class, host, SCOPE, self.architecture)
                        .map_err(|error| Refusal::new(error.reason(), &error))
                };
                // What the extension says of itself comes before how it fits this host.
                judge(None)?;
                extension::refuse_os_release(tree, class).map_err(lookup)?;
                extension::refuse_odd_hierarchies(tree, self.policy.hierarchies.paths(class)).map_err(lookup)?;
                judge(self.host).map(drop)
            })
            .map_err(|error| Refusal::new(error.reason(), &error))
    }
}
