//! Errors of members of a layer.

use super::pax::PaxError;
use super::sparse::SparseError;
use super::{PathError, TreeTooLarge};
use ddi::text::Text;

/// Error of a member of a layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// Its path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The member replaces the root by something other than a directory.
    #[error("root is not a directory")]
    Root,
    /// A hard link to nothing.
    #[error("hard link to {target}, which does not exist")]
    MissingTarget {
        /// Target of the link
        target: Text,
    },
    /// A hard link to a directory.
    #[error("hard link to {target}, which is a directory")]
    DirectoryTarget {
        /// Target of the link
        target: Text,
    },
    /// A field of its header is invalid.
    #[error("invalid {field}: {cause}")]
    Field {
        /// Its name
        field: &'static str,
        /// Why
        cause: String,
    },
    /// Its extended header.
    #[error(transparent)]
    Pax(#[from] PaxError),
    /// Its holes.
    #[error(transparent)]
    Sparse(#[from] SparseError),
    /// The type is unknown.
    #[error("unknown member type {0:?}")]
    Type(char),
    /// An extended attribute in an unsupported form.
    #[error("extended attribute {name} has an unsupported form")]
    Attribute {
        /// Its name
        name: Text,
    },
    /// The tree exceeds its bounds.
    #[error(transparent)]
    TooLarge(#[from] TreeTooLarge),
    /// All files together exceed the limit.
    #[error("all files together are larger than {limit} bytes; raise the limit with --max-size")]
    TooMuch {
        /// Limit in bytes
        limit: u64,
    },
}
