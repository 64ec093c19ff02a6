//! The pipeline of every image, from a file to evidence.
//!
//! ```text
//! Candidate ─► Ddi ─► SignedDdi ─► IntactImage ─► VerifiedImage
//!  a name      shape   signature    every byte     mountable, and an extension for this host
//!                              └──► RootedImage ─► OnReadImage
//!                                   the hash tree  the same, and dm-verity will check the data
//! ```
//!
//! Each step consumes the result of the step before, and there is no other way to make it: a [`VerifiedImage`] is an
//! [`IntactImage`] of a [`SignedDdi`], with the evidence that it is compatible. Its type determines how its bytes are
//! held, so [`crate::stage`] accepts none that was only examined. No file system is read before all of its bytes have
//! been checked, or through anything but its hash tree.
//!
//! An [`OnReadImage`] is not a [`VerifiedImage`]: it can only be staged as a mount of its file, which systemd activates
//! through dm-verity.

mod activation;
mod candidate;
pub mod cms;
mod contents;
mod custody;
mod damage;
mod der;
mod judgement;
mod phase;
mod reading;
mod signature;
mod unknown;

pub use activation::{Activate, ActivationError, Judge};
pub use candidate::{Candidate, extension_name};
pub use contents::{ContentsError, Coverage, Held, IntactImage, Rooted, RootedImage};
pub use custody::{Custody, Examined, HeldImage, InPlaceCustody, Shortage};
pub use der::DerError;
pub use judgement::judge_unverified;
pub use phase::{Phase, Phases};
pub use signature::{SignatureError, SignedDdi, SignedRoot};
pub use unknown::UnknownSigner;

use crate::confine::Confinement;
use crate::extension::{Compatible, HostRelease};
use crate::policy::{Policy, Verify};
use crate::reason::{Reason, Refusal};
use crate::trust::{Anchor, TrustStore};
use ddi::ExtensionName;
use ddi::io::ReadAt;
use ddi::text::{Message, Text};
use ddi::verity::RootHash;
use ddi::{Architecture, Class};
use judgement::{Rules, judge_tree};
use reading::{Contents, Reader, Structure};
use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

/// Findings about an image, collected even if it is rejected.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// The signed root hash; `None` until its signature has been verified.
    pub root_hash: Option<RootHash>,
    /// The trust anchor that signed it.
    pub signer: Option<Anchor>,
    /// A signer that is not a trust anchor. Its data is untrusted.
    pub unknown_signer: Option<UnknownSigner>,
    /// Warnings, which do not change the verdict.
    pub warnings: Vec<Message>,
    /// Coverage, `None` until the bytes have been verified.
    pub coverage: Option<Coverage>,
    /// What the time went into.
    pub phases: Phases,
}

/// An image that has passed all checks: it is intact, and an extension for this host. Only [`Verifier::verify`] and
/// [`Session::verify`] make one. `B` is the backing of its bytes.
///
/// ```compile_fail,E0451
/// use sextant::extension::Compatible;
/// use sextant::verify::{HeldImage, IntactImage, VerifiedImage};
///
/// fn accept<B>(intact: IntactImage<HeldImage<B>>, compatible: Compatible) -> VerifiedImage<B> {
///     VerifiedImage { intact, compatible }
/// }
/// ```
#[derive(Debug)]
pub struct VerifiedImage<B> {
    intact: IntactImage<HeldImage<B>>,
    compatible: Compatible,
}

impl<B> VerifiedImage<B> {
    /// Returns the extension's name.
    #[must_use]
    pub fn name(&self) -> &ExtensionName {
        self.intact.rooted().held().name()
    }

    /// Returns the class.
    #[must_use]
    pub fn class(&self) -> Class {
        self.intact.rooted().held().class()
    }

    /// Returns the signed root hash, which matches all of its bytes.
    #[must_use]
    pub fn root_hash(&self) -> &RootHash {
        self.intact.rooted().signed().root().root_hash()
    }

    /// Returns the trust anchor that signed it.
    #[must_use]
    pub fn signer(&self) -> &Anchor {
        self.intact.rooted().signed().root().signer()
    }

    /// Returns the evidence that it is compatible.
    #[must_use]
    pub fn compatible(&self) -> Compatible {
        self.compatible
    }

    /// Returns the verified bytes.
    #[must_use]
    pub fn into_held_image(self) -> HeldImage<B> {
        self.intact.into_held()
    }
}

/// An image that has passed all checks, except that its data is left to dm-verity. It is held by a mount of its file,
/// which cannot be copied. Only [`Session::verify_on_read`] makes one.
///
/// Its bytes are inaccessible: code that installs or copies an image needs a [`VerifiedImage`].
///
/// ```compile_fail,E0624
/// fn bytes<M>(image: sextant::verify::OnReadImage<M>) -> sextant::verify::HeldImage<M> {
///     image.into_held_image()
/// }
/// ```
#[derive(Debug)]
pub struct OnReadImage<M> {
    rooted: RootedImage<HeldImage<M>>,
    compatible: Compatible,
}

impl<M> OnReadImage<M> {
    /// Returns the evidence that it is compatible.
    #[must_use]
    pub fn compatible(&self) -> Compatible {
        self.compatible
    }

    /// Returns the verified file.
    pub(crate) fn into_held_image(self) -> HeldImage<M> {
        self.rooted.into_held()
    }
}

/// An image that was verified with either coverage.
#[derive(Debug)]
pub enum Verified<B, M> {
    /// All bytes were verified.
    Full(VerifiedImage<B>),
    /// dm-verity verifies the data when it is read.
    OnRead(OnReadImage<M>),
}

impl<B, M> Verified<B, M> {
    /// Returns the extension's name.
    #[must_use]
    pub fn name(&self) -> &ExtensionName {
        match self {
            Self::Full(image) => image.name(),
            Self::OnRead(image) => image.rooted.held().name(),
        }
    }

    /// Returns the class.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Full(image) => image.class(),
            Self::OnRead(image) => image.rooted.held().class(),
        }
    }

    /// Returns the signed root hash.
    #[must_use]
    pub fn root_hash(&self) -> &RootHash {
        match self {
            Self::Full(image) => image.root_hash(),
            Self::OnRead(image) => image.rooted.signed().root().root_hash(),
        }
    }
}

impl<B, M> From<VerifiedImage<B>> for Verified<B, M> {
    fn from(image: VerifiedImage<B>) -> Self {
        Self::Full(image)
    }
}

/// The images that have been accepted so far.
#[derive(Debug, Clone, Default)]
pub struct Accepted {
    names: HashSet<(Class, ExtensionName)>,
    files: HashMap<(Class, RootHash), Text>,
}

impl Accepted {
    /// Adds an image from `file`.
    pub fn add(&mut self, class: Class, name: ExtensionName, root_hash: RootHash, file: Text) {
        self.names.insert((class, name));
        self.files.insert((class, root_hash), file);
    }

    fn has_name(&self, class: Class, name: &ExtensionName) -> bool {
        self.names.contains(&(class, name.clone()))
    }

    /// Returns the file with this root hash. An image may be both a sysext and a confext.
    fn file(&self, class: Class, root_hash: &RootHash) -> Option<&Text> {
        self.files.get(&(class, root_hash.clone()))
    }
}

/// The rules and facilities for verifying images.
pub struct Verifier<'a> {
    /// Policy from the sealed configuration.
    pub policy: &'a Policy,
    /// The trust anchors.
    pub trust: &'a TrustStore,
    /// Required architecture of the partitions.
    pub architecture: Architecture,
    /// Release of the host, `None` if it is unknown.
    pub host: Option<&'a HostRelease>,
    /// Trial activation after an image has been read, `None` if no kernel facility may be used.
    pub activation: Option<&'a dyn Activate>,
    /// The place where hostile bytes are read.
    pub confinement: Confinement,
    /// Number of threads for hashing.
    pub threads: usize,
    /// Current time, for warnings.
    pub now: SystemTime,
}

impl Verifier<'_> {
    /// Verifies one image, with its own worker. See [`Session::verify`].
    ///
    /// # Errors
    /// The refusal of the first rule that is broken. `findings` has what was learned until then.
    pub fn verify<C: Custody + ?Sized>(
        &self,
        candidate: Candidate,
        accepted: &Accepted,
        custody: &C,
        findings: &mut Findings,
    ) -> Result<VerifiedImage<C::Backing>, Refusal> {
        self.session().verify(candidate, accepted, custody, findings)
    }

    /// Starts the verification of several images, one after the other.
    #[must_use]
    pub fn session(&self) -> Session<'_> {
        let rules =
            Rules { architecture: self.architecture, policy: self.policy, host: self.host, threads: self.threads };
        Session { verifier: self, rules, reader: Reader::new(rules, self.confinement) }
    }
}

/// The result of taking the bytes of an image into custody.
type Taken<B> = Result<HeldImage<B>, Box<Shortage>>;

/// The verification of several images, one after the other.
pub struct Session<'a> {
    verifier: &'a Verifier<'a>,
    rules: Rules<'a>,
    reader: Reader<'a>,
}

impl Session<'_> {
    /// Verifies one image, after those in `accepted`.
    ///
    /// # Errors
    /// The refusal of the first rule that is broken. `findings` has what was learned until then.
    pub fn verify<C: Custody + ?Sized>(
        &self,
        candidate: Candidate,
        accepted: &Accepted,
        custody: &C,
        findings: &mut Findings,
    ) -> Result<VerifiedImage<C::Backing>, Refusal> {
        let verified = self.verify_next(candidate, accepted, custody, findings);
        verified.inspect_err(|_| self.reader.replace_worker())
    }

    /// Verifies one image, after those in `accepted`, and leaves its data to dm-verity if this kernel activates the
    /// image and the file is staged as a mount. Otherwise everything is verified, as by [`Self::verify`].
    ///
    /// # Errors
    /// The refusal of the first rule that is broken. `findings` has what was learned until then.
    pub fn verify_on_read<C: Custody + ?Sized>(
        &self,
        candidate: Candidate,
        accepted: &Accepted,
        custody: &C,
        findings: &mut Findings,
    ) -> Result<Verified<C::Backing, C::Mount>, Refusal> {
        let verified = self.verify_next_on_read(candidate, accepted, custody, findings);
        verified.inspect_err(|_| self.reader.replace_worker())
    }

    /// Starts reading the image that will be verified next, while the caller finishes its work on the one before, which
    /// [`Self::verify`] accepted.
    pub fn announce(&self, candidate: &Candidate) {
        self.reader.announce(candidate);
    }

    fn verify_next<C: Custody + ?Sized>(
        &self,
        candidate: Candidate,
        accepted: &Accepted,
        custody: &C,
        findings: &mut Findings,
    ) -> Result<VerifiedImage<C::Backing>, Refusal> {
        let (signed, held) = self.hold(candidate, accepted, custody, findings)?;
        match held {
            Ok(holding) => self.full(holding, signed, findings),
            Err(shortage) => self.refuse_shortage(*shortage, signed, Verify::Full, findings),
        }
    }

    fn verify_next_on_read<C: Custody + ?Sized>(
        &self,
        candidate: Candidate,
        accepted: &Accepted,
        custody: &C,
        findings: &mut Findings,
    ) -> Result<Verified<C::Backing, C::Mount>, Refusal> {
        let (signed, held) = self.hold(candidate, accepted, custody, findings)?;
        let holding = match held {
            Ok(holding) => holding,
            Err(shortage) => return self.refuse_shortage(*shortage, signed, Verify::OnRead, findings),
        };
        // Without an activation now, it is unknown whether the kernel will verify the data later.
        let mounted = match self.verifier.activation {
            Some(_) => holding.converted(|backing| custody.only_mount(backing)),
            None => Err(Box::new(holding)),
        };
        match mounted {
            Ok(mounted) => self.on_read(mounted, signed, findings).map(Verified::OnRead),
            Err(holding) => self.full(*holding, signed, findings).map(Verified::Full),
        }
    }

    /// Applies the rules that precede the contents, and takes the bytes into custody.
    fn hold<C: Custody + ?Sized>(
        &self,
        candidate: Candidate,
        accepted: &Accepted,
        custody: &C,
        findings: &mut Findings,
    ) -> Result<(SignedDdi, Taken<C::Backing>), Refusal> {
        let mut phases = std::mem::take(&mut findings.phases);
        let held = phases.measure(Phase::Read, || self.read_and_hold(candidate, accepted, custody, findings));
        findings.phases = phases;
        held
    }

    fn read_and_hold<C: Custody + ?Sized>(
        &self,
        candidate: Candidate,
        accepted: &Accepted,
        custody: &C,
        findings: &mut Findings,
    ) -> Result<(SignedDdi, Taken<C::Backing>), Refusal> {
        let Structure { ddi, signed_data } = self.reader.structure(&candidate)?;
        let signed = SignedDdi::decide(ddi, &signed_data, self.verifier.trust)
            .inspect_err(|error| findings.unknown_signer = error.unknown_signer().cloned())?;
        let root = signed.root();
        findings.root_hash = Some(root.root_hash().clone());
        findings.signer = Some(root.signer().clone());
        findings.warnings.extend(signed.warnings(self.verifier.now));
        self.verifier.policy.admit_root_hash(root.root_hash())?;

        let taken = accepted.has_name(candidate.class(), candidate.name()).then(|| {
            let name = candidate.name();
            Refusal::new(Reason::DuplicateName, format_args!("an image named \"{name}\" was accepted before"))
        });
        // The bytes of this root hash have been checked and are staged. Checking them again for each copy of a signed
        // image would cost boot time.
        if let Some(first) = accepted.file(candidate.class(), root.root_hash()) {
            let detail = format_args!("it is the image that was accepted before as \"{first}\"");
            return Err(taken.unwrap_or_else(|| Refusal::new(Reason::DuplicateImage, detail)));
        }

        // From here on only bytes count that others cannot change.
        let held = match taken {
            Some(refusal) => Err(Box::new(Shortage::new(candidate, refusal))),
            None => custody.take(candidate),
        };
        if let Ok(holding) = &held {
            findings.warnings.extend(holding.remark().cloned());
        }
        Ok((signed, held))
    }

    /// Verifies everything.
    fn full<B>(
        &self,
        holding: HeldImage<B>,
        signed: SignedDdi,
        findings: &mut Findings,
    ) -> Result<VerifiedImage<B>, Refusal> {
        let read = || self.reader.contents(&holding, signed.ddi(), Verify::Full);
        let contents = findings.phases.measure(Phase::Hash, read)?;
        findings.coverage = Some(Coverage::full(holding.source().len()));
        let attested = IntactImage::attested(holding, signed, &contents.superblock);
        let intact = attested.ok_or_else(|| self.reader.invalid_answer())?;
        let compatible = self.activate(intact.rooted(), &contents, findings)?;
        Ok(VerifiedImage { intact, compatible })
    }

    /// Verifies the parts that decisions depend on.
    fn on_read<M>(
        &self,
        holding: HeldImage<M>,
        signed: SignedDdi,
        findings: &mut Findings,
    ) -> Result<OnReadImage<M>, Refusal> {
        let read = || self.reader.contents(&holding, signed.ddi(), Verify::OnRead);
        let contents = findings.phases.measure(Phase::Hash, read)?;
        findings.coverage = Some(Coverage::on_read(contents.checked, holding.source().len()));
        let attested = RootedImage::attested(holding, signed, &contents.superblock);
        let rooted = attested.ok_or_else(|| self.reader.invalid_answer())?;
        let compatible = self.activate(&rooted, &contents, findings)?;
        Ok(OnReadImage { rooted, compatible })
    }

    /// Refuses an image whose bytes could not be taken, unless it has a worse fault.
    fn refuse_shortage<T>(
        &self,
        shortage: Shortage,
        signed: SignedDdi,
        verify: Verify,
        findings: &mut Findings,
    ) -> Result<T, Refusal> {
        let Shortage { holding, refusal } = shortage;
        match verify {
            Verify::Full => self.full(holding, signed, findings).map(drop)?,
            Verify::OnRead => self.on_read(holding, signed, findings).map(drop)?,
        }
        Err(refusal)
    }

    /// Activates the image on trial if requested, and checks that the file is unchanged.
    fn activate<B>(
        &self,
        image: &RootedImage<HeldImage<B>>,
        contents: &Contents,
        findings: &mut Findings,
    ) -> Result<Compatible, Refusal> {
        findings.warnings.extend(image.lend().warnings());
        let (rules, holding) = (self.rules, image.held());
        let (name, class) = (holding.name(), holding.class());
        let compatible = match self.verifier.activation {
            None => contents.compatible(),
            Some(activation) => findings
                .phases
                .measure(Phase::Activate, || {
                    activation.activate(image.lend(), contents.kind, &mut |tree| judge_tree(rules, tree, name, class))
                })
                .map_err(|error| Refusal::new(error.reason(), &error))?,
        };
        holding.check_unchanged()?;
        Ok(compatible)
    }
}
