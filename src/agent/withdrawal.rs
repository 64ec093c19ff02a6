//! Telling what was taken back.

use crate::report::{self, Event};
use crate::stage::Withdrawn;
use crate::state::{StagedExtension, State};
use ddi::text::{Message, Text};

/// Notes in the state, and tells the journal, why what was staged no longer is.
pub(super) fn note(state: &mut State, withdrawn: &[Withdrawn]) {
    note_as(state, withdrawn, false);
}

/// The same where owners removed the files that extensions were adopted from.
pub(super) fn note_removed(state: &mut State, withdrawn: &[Withdrawn]) {
    note_as(state, withdrawn, true);
}

fn note_as(state: &mut State, withdrawn: &[Withdrawn], is_removed: bool) {
    for image in withdrawn {
        let cause = Message::new(image.cause);
        if let Some(extension) = mark(state, image, is_removed) {
            Event::emit_withdrawn(&about(extension), &cause);
        } else {
            let file = Text::from_os(&image.file);
            Event::Withdrawn.emit(format_args!("{file} ({}) will not be merged: {cause}", image.class));
        }
    }
}

/// Notes it in the state. Returns the extension, if there is one.
pub(super) fn mark<'s>(state: &'s mut State, withdrawn: &Withdrawn, is_removed: bool) -> Option<&'s StagedExtension> {
    let is_it = |extension: &&mut StagedExtension| {
        extension.withdrawn.is_none() && extension.is_staged_as(withdrawn.class, &withdrawn.file)
    };
    let extension = state.staged.iter_mut().find(is_it)?;
    extension.withdrawn = Some(Message::new(withdrawn.cause));
    extension.is_removed = is_removed;
    Some(extension)
}

/// What is told of an extension that was staged.
fn about(extension: &StagedExtension) -> report::Withdrawn<'_> {
    report::Withdrawn {
        class: extension.class,
        name: &extension.name,
        file: &extension.file,
        root_hash: extension.root_hash.as_ref(),
        signer: extension.signer.as_ref(),
        is_removed: extension.is_removed,
    }
}
