//! From a file to evidence: the way every image takes, whoever asks.
//!
//! ```text
//! Candidate ─► Ddi ─► SignedRoot ─► IntactImage ─► VerifiedImage
//!  a name      shape   signature     every byte     mountable, and an extension for this host
//!                               └──► RootedImage ─► OnReadImage
//!                                    the hash tree  the same, and dm-verity will check the data
//! ```
//!
//! Each step takes what the one before it made and can be made by no other; the last is what
//! [`crate::stage`] takes. No file system is looked into before all of its bytes have been checked, or through anything but
//! its hash tree.
//!
//! An [`OnReadImage`] is no [`VerifiedImage`]: it can be staged as a mount of its file, which systemd activates by dm-verity, and
//! in no other way.

mod activation;
mod candidate;
pub mod cms;
mod contents;
mod der;
mod reading;
mod signature;

pub use activation::{Activate, ActivationError, Look};
pub use candidate::{Candidate, extension_name};
pub use contents::{ContentsError, Coverage, IntactImage, RootedImage};
pub use der::DerError;
pub use signature::{SignatureError, SignedRoot};

use crate::confine::Confinement;
use crate::extension::{self, HostRelease, LookupError};
use crate::policy::{Policy, Verify};
use crate::reason::{Reason, Refusal};
use crate::stage::{Custody, Holding, MountedHolding};
use crate::trust::{Anchor, TrustStore};
use ddi::ExtensionName;
use ddi::filesystem::{Filesystem, Tree};
use ddi::io::ReadAt;
use ddi::text::{Message, Text};
use ddi::verity::RootHash;
use ddi::{Architecture, Class};
use reading::{Reader, Rules, Structure};
use std::collections::{HashMap, HashSet};
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
    pub warnings: Vec<Message>,
    /// How much of it was verified; `None` until that was done.
    pub coverage: Option<Coverage>,
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

/// An image whose data is left to dm-verity, and of which everything else has been verified. It is held by a mount of its file,
/// so there is nothing that could be copied. Only [`Session::verify_on_read`] makes one.
///
/// The bytes are out of reach: what installs or copies an image takes a [`VerifiedImage`].
///
/// ```compile_fail,E0599
/// fn bytes(image: sextant::verify::OnReadImage) -> sextant::stage::Holding {
///     image.into_holding()
/// }
/// ```
#[derive(Debug)]
pub struct OnReadImage {
    holding: MountedHolding,
    signed: SignedRoot,
}

/// What can be staged.
#[derive(Debug)]
pub enum Stageable {
    /// Everything was verified.
    Full(VerifiedImage),
    /// dm-verity verifies the data when it is read.
    OnRead(OnReadImage),
}

impl Stageable {
    /// The extension's name.
    #[must_use]
    pub fn name(&self) -> &ExtensionName {
        self.holding().name()
    }

    /// What it extends.
    #[must_use]
    pub fn class(&self) -> Class {
        self.holding().class()
    }

    /// The signed root hash.
    #[must_use]
    pub fn root_hash(&self) -> &RootHash {
        match self {
            Self::Full(image) => image.root_hash(),
            Self::OnRead(image) => image.signed.root_hash(),
        }
    }

    fn holding(&self) -> &Holding {
        match self {
            Self::Full(image) => &image.holding,
            Self::OnRead(image) => image.holding.as_ref(),
        }
    }

    /// The very file that was verified.
    #[must_use]
    pub(crate) fn into_holding(self) -> Holding {
        match self {
            Self::Full(image) => image.into_holding(),
            Self::OnRead(image) => image.holding.into(),
        }
    }
}

impl From<VerifiedImage> for Stageable {
    fn from(image: VerifiedImage) -> Self {
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
    /// Adds an image that came from `file`.
    pub fn add(&mut self, class: Class, name: ExtensionName, root_hash: RootHash, file: Text) {
        self.names.insert((class, name));
        self.files.insert((class, root_hash), file);
    }

    fn has_name(&self, class: Class, name: &ExtensionName) -> bool {
        self.names.contains(&(class, name.clone()))
    }

    /// The file with this root hash. One image may be both a system and a configuration extension.
    fn file(&self, class: Class, root_hash: &RootHash) -> Option<&Text> {
        self.files.get(&(class, root_hash.clone()))
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
    /// Who activates an image on trial once it has been read; `None` where no kernel facility may be used.
    pub activation: Option<&'a dyn Activate>,
    /// Where hostile bytes are read.
    pub confinement: Confinement,
    /// Threads that hash.
    pub threads: usize,
    /// The time, for warnings.
    pub now: SystemTime,
}

impl Verifier<'_> {
    /// Verifies one image, with a worker of its own. See [`Session::verify`].
    ///
    /// # Errors
    /// The first rule that is broken. What was found until then is in `findings`.
    pub fn verify(
        &self,
        candidate: Candidate,
        accepted: &Accepted,
        custody: &dyn Custody,
        findings: &mut Findings,
    ) -> Result<VerifiedImage, Refusal> {
        self.session().verify(candidate, accepted, custody, findings)
    }

    /// Begins to verify several images, one after the other.
    #[must_use]
    pub fn session(&self) -> Session<'_> {
        let rules =
            Rules { architecture: self.architecture, policy: self.policy, host: self.host, threads: self.threads };
        Session { verifier: self, rules, reader: Reader::new(rules, self.confinement) }
    }
}

/// Several images that are verified one after the other.
pub struct Session<'a> {
    verifier: &'a Verifier<'a>,
    rules: Rules<'a>,
    reader: Reader<'a>,
}

impl Session<'_> {
    /// Verifies one image, after those that have been accepted.
    ///
    /// # Errors
    /// The first rule that is broken. What was found until then is in `findings`.
    pub fn verify(
        &self,
        candidate: Candidate,
        accepted: &Accepted,
        custody: &dyn Custody,
        findings: &mut Findings,
    ) -> Result<VerifiedImage, Refusal> {
        let verified = self.verify_next(candidate, accepted, custody, findings);
        verified.inspect_err(|_| self.reader.distrust())
    }

    /// Verifies one image, after those that have been accepted, and leaves its data to dm-verity where that will check it: where this
    /// kernel activates the image, and its file is staged as it is. Elsewhere everything is verified, as by [`Self::verify`].
    ///
    /// # Errors
    /// The first rule that is broken. What was found until then is in `findings`.
    pub fn verify_on_read(
        &self,
        candidate: Candidate,
        accepted: &Accepted,
        custody: &dyn Custody,
        findings: &mut Findings,
    ) -> Result<Stageable, Refusal> {
        let verified = self.verify_next_on_read(candidate, accepted, custody, findings);
        verified.inspect_err(|_| self.reader.distrust())
    }

    /// Lets the reading of the image begin that is going to be verified next, while the caller does what is left to do for the one
    /// before, which [`Self::verify`] accepted.
    pub fn announce(&self, candidate: &Candidate) {
        self.reader.announce(candidate);
    }

    fn verify_next(
        &self,
        candidate: Candidate,
        accepted: &Accepted,
        custody: &dyn Custody,
        findings: &mut Findings,
    ) -> Result<VerifiedImage, Refusal> {
        let Held { structure, signed, holding, shortage } = self.hold(candidate, accepted, custody, findings)?;
        self.check(&holding, &structure, &signed, Verify::Full, findings)?;
        shortage.map_or(Ok(VerifiedImage { holding, signed }), Err)
    }

    fn verify_next_on_read(
        &self,
        candidate: Candidate,
        accepted: &Accepted,
        custody: &dyn Custody,
        findings: &mut Findings,
    ) -> Result<Stageable, Refusal> {
        let Held { structure, signed, holding, shortage } = self.hold(candidate, accepted, custody, findings)?;
        let mounted = if self.verifier.activation.is_some() { holding.into_mounted() } else { Err(holding.into()) };
        match (mounted, shortage) {
            (Ok(holding), shortage) => {
                self.check(holding.as_ref(), &structure, &signed, Verify::OnRead, findings)?;
                shortage.map_or(Ok(Stageable::OnRead(OnReadImage { holding, signed })), Err)
            }
            // It can't be staged; a worse fault is reported instead of the shortage.
            (Err(holding), Some(refusal)) => {
                self.check(&holding, &structure, &signed, Verify::OnRead, findings)?;
                Err(refusal)
            }
            (Err(holding), None) => {
                self.check(&holding, &structure, &signed, Verify::Full, findings)?;
                Ok(VerifiedImage { holding: *holding, signed }.into())
            }
        }
    }

    /// Applies the rules that come before the contents, and takes the bytes into custody.
    fn hold(
        &self,
        candidate: Candidate,
        accepted: &Accepted,
        custody: &dyn Custody,
        findings: &mut Findings,
    ) -> Result<Held, Refusal> {
        let structure = self.reader.structure(&candidate)?;
        let claim = structure.ddi.claim();
        let signed = SignedRoot::decide(&claim.root_hash, &structure.signed_data, self.verifier.trust)?;
        findings.root_hash = Some(signed.root_hash().clone());
        findings.signer = Some(signed.signer().clone());
        findings.warnings.extend(signed.warnings(claim, self.verifier.now));
        self.verifier.policy.admit_root_hash(signed.root_hash())?;

        let taken = accepted.has_name(candidate.class(), candidate.name()).then(|| {
            let name = candidate.name();
            Refusal::new(Reason::DuplicateName, format_args!("an image named \"{name}\" was accepted before"))
        });
        // The bytes under this root hash have been checked and are staged. To check them again for each copy would make a
        // boot pay in time for copies of a signed image.
        if let Some(first) = accepted.file(candidate.class(), signed.root_hash()) {
            let detail = format_args!("it is the image that was accepted before as \"{first}\"");
            return Err(taken.unwrap_or_else(|| Refusal::new(Reason::DuplicateImage, detail)));
        }

        // From here on only bytes count that nobody else can change. Where there is no room for them the
        // rules are applied all the same, for an image with a worse fault deserves to be told so.
        let (holding, shortage) = match taken {
            Some(refusal) => (Holding::in_place(candidate), Some(refusal)),
            None => custody.take(candidate),
        };
        findings.warnings.extend(holding.remark().cloned());
        Ok(Held { structure, signed, holding, shortage })
    }

    /// Checks the contents, as much as `verify` says, and that the file didn't change meanwhile.
    fn check(
        &self,
        holding: &Holding,
        structure: &Structure,
        signed: &SignedRoot,
        verify: Verify,
        findings: &mut Findings,
    ) -> Result<(), Refusal> {
        let (source, name, class) = (holding.source(), holding.name(), holding.class());
        let contents = self.reader.contents(holding, structure, verify)?;
        let rooted = RootedImage::attested(source, &structure.ddi, signed, &contents.superblock)
            .ok_or_else(|| self.reader.nonsense())?;
        findings.coverage = Some(match verify {
            Verify::Full => Coverage::full(source.len()),
            Verify::OnRead => Coverage::on_read(contents.checked, source.len()),
        });
        findings.warnings.extend(rooted.warnings(&structure.ddi));
        if let Some(activation) = self.verifier.activation {
            let rules = self.rules;
            activation
                .activate(&rooted, contents.kind, &mut |tree| look(rules, tree, name, class))
                .map_err(|error| Refusal::new(error.reason(), &error))?;
        }
        holding.check_unchanged()
    }
}

/// An image by a trusted signer, held until its contents have been checked.
struct Held {
    structure: Structure,
    signed: SignedRoot,
    holding: Holding,
    /// Why it can't be staged, whatever it contains.
    shortage: Option<Refusal>,
}

/// Judges what is in the file system of an extension.
/// Judges the file system of an image of which nothing else is known: release file, names and hierarchies, and not whether
/// it fits a host.
///
/// # Errors
/// What a boot would refuse an image with this file system for.
pub fn look_unverified(
    policy: &Policy,
    architecture: Architecture,
    filesystem: &Filesystem<'_>,
    name: &ExtensionName,
    class: Class,
) -> Result<(), Refusal> {
    look_closely(Rules { architecture, policy, host: None, threads: 1 }, filesystem, name, class)
}

/// Judges a file system by all that [`look`] judges, and by what it would make overlayfs hide of the host.
fn look_closely(
    rules: Rules<'_>,
    filesystem: &Filesystem<'_>,
    name: &ExtensionName,
    class: Class,
) -> Result<(), Refusal> {
    look(rules, filesystem, name, class)?;
    let hierarchies = class.hierarchies().iter().copied().chain(rules.policy.hierarchies.paths(class));
    let tops: Vec<&str> = hierarchies.filter_map(|path| path.split('/').find(|name| !name.is_empty())).collect();
    let masks = filesystem.masks(&tops, 1).map_err(|error| Refusal::new(Reason::NotMountable, error))?;
    match masks.first() {
        None => Ok(()),
        Some((path, mask)) => {
            let path = Text::from_bytes(path);
            Err(Refusal::new(Reason::BadHierarchy, format_args!("/{path} {mask}")))
        }
    }
}

fn look(rules: Rules<'_>, tree: &dyn Tree, name: &ExtensionName, class: Class) -> Result<(), Refusal> {
    let lookup = |error: LookupError| Refusal::new(error.reason(), &error);
    let release = extension::find_release(tree, class, name).map_err(lookup)?;
    let judge = |host| {
        extension::judge(&release.file, class, host, SCOPE, rules.architecture)
            .map_err(|error| Refusal::new(error.reason(), &error))
    };
    // What the extension says of itself comes before how it fits this host.
    judge(None)?;
    extension::refuse_os_release(tree, class).map_err(lookup)?;
    extension::refuse_odd_metadata(tree, class, name).map_err(lookup)?;
    extension::refuse_odd_hierarchies(tree, rules.policy.hierarchies.paths(class)).map_err(lookup)?;
    let (possible, longest) = (rules.policy.host_hierarchies.possible(class), rules.policy.overlay(class).hierarchy());
    extension::refuse_possible_hierarchies(tree, possible, longest).map_err(lookup)?;
    judge(rules.host).map(drop)
}
