//! What takes a mount namespace, loop devices or root, and a machine that isn't touched by it.
#![allow(clippy::unwrap_used)]

mod host;
mod kernel;
mod mounts;
mod namespace;
mod on_read;
mod room;

use std::process::ExitCode;
use support::keys::{self, Authority};
use support::{cases, harness};

fn vendor() -> &'static Authority {
    keys::rsa("Vendor")
}

fn main() -> ExitCode {
    harness::run(
        "privileged",
        cases!(
            host: a_host_is_left_alone_under_every_name,
                a_bind_mount_of_the_machine_is_the_machine,
                there_is_nothing_to_confirm_on_a_host_without_sextant,
                a_host_is_confirmed;
            kernel: a_kernel_without_the_means_is_named_and_nothing_stays_attached,
                a_sweep_takes_what_it_is_told_to_and_nothing_else;
            mounts: certificates_of_others_are_deleted_from_memory_alone,
                the_verified_file_is_seen_under_its_second_name_and_nobody_can_write_through_it,
                another_file_in_its_place_is_never_staged,
                what_others_left_is_moved_aside_and_then_mounted_where_it_was,
                a_write_after_verifying_is_noticed_before_the_merge,
                a_write_between_verifying_and_staging_is_noticed,
                a_copy_that_was_written_to_is_not_staged,
                a_write_to_a_copy_while_it_is_verified_is_noticed,
                a_write_while_verifying_is_noticed,
                what_no_report_names_is_taken_back,
                taking_back_leaves_neither_mount_nor_file,
                what_a_killed_agent_leaves_in_the_instant_before_mounting_is_no_image;
            on_read: what_is_left_to_dm_verity_is_staged_as_the_file_itself,
                without_a_mount_or_the_kernel_everything_is_verified,
                what_can_be_known_without_the_data_is_refused,
                whatever_happens_to_the_disk_while_it_is_verified_no_other_file_is_staged,
                whatever_happens_to_the_disk_before_staging_no_other_file_is_staged,
                a_file_that_is_written_to_after_staging_is_taken_back_before_the_merge;
            room: without_room_an_image_is_refused_before_a_byte_of_it_is_written;
        ),
    )
}
