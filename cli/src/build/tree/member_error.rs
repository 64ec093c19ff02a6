//! Why a member of a layer can't be used.

use super::pax::PaxError;
use super::sparse::SparseError;
use super::{PathError, TreeTooLarge};
use ddi::text::Text;

/// Why a member of a layer can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// Its path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Something other than a directory, without a name of its own.
    #[error("its path is that of the root, and it is no directory")]
    Root,
    /// A hard link to nothing.
    #[error("it is a hard link to {target}, which is not there")]
    MissingTarget {
        /// Where it should lead
        target: Text,
    },
    /// A hard link to a directory.
    #[error("it is a hard link to {target}, which is a directory")]
    DirectoryTarget {
        /// Where it leads
        target: Text,
    },
    /// A field of its header.
    #[error("{field} can't be used: {cause}")]
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
    /// A type that means nothing here.
    #[error("type {0:?} of a member is not known")]
    Type(char),
    /// An attribute that only another archiver's way of writing it down has.
    #[error("it has the extended attribute {name} in a form that is not read")]
    Attribute {
        /// Its name
        name: Text,
    },
    /// The tree would grow too large with it.
    #[error(transparent)]
    TooLarge(#[from] TreeTooLarge),
    /// Together with what came before it, more than is allowed.
    #[error("the files would have more than {limit} bytes; if that is meant, allow it with --max-size")]
    TooMuch {
        /// Bytes of all files
        limit: u64,
    },
}
