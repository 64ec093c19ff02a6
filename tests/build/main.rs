//! Making extensions: `sextant build` and `sextant sign`, and the library below them.
#![allow(clippy::unwrap_used)]

mod attributes;
mod containers;
mod desk;
mod directories;
mod formats;
mod found;
mod go_tar;
mod hostile_layers;
mod hostile_registry;
mod hosts;
mod key_forms;
mod layers;
mod meant;
mod peers;
mod podman;
mod registry;
mod reproducible;
mod service;
mod signers;
mod signing;

use std::process::ExitCode;
use support::{cases, harness};

#[expect(clippy::too_many_lines, reason = "it is a list")]
fn main() -> ExitCode {
    harness::run(
        "build",
        cases!(
            attributes: erofs_is_taken_as_soon_as_the_source_needs_it,
                attributes_of_layers_are_kept,
                erofs_is_taken_for_times_and_long_links_too,
                what_no_file_system_keeps_is_told_or_refused;
            containers: every_form_of_an_image_gives_the_same_extension,
                what_is_not_what_its_digest_says_is_refused,
                the_image_for_the_machine_is_taken_and_the_extension_is_for_that,
                an_image_is_never_passed_off_as_one_for_another_machine,
                what_unpacks_into_too_much_is_given_up,
                layers_that_can_not_be_read_are_refused_by_what_they_are;
            directories: what_the_kernel_shows_is_what_the_directory_had,
                what_is_mine_becomes_roots,
                what_cannot_be_in_an_extension_is_left_out_with_a_line_or_refused,
                nothing_to_extend_is_an_error,
                a_link_as_usr_is_not_followed,
                a_file_that_changes_while_it_is_read_makes_no_image,
                a_release_file_is_written_or_checked,
                wrong_options_are_usage;
            formats: squashfs_holds_what_the_tree_has,
                erofs_holds_what_the_tree_has,
                what_squashfs_cannot_keep_is_an_error_that_says_what_can,
                a_missing_or_old_program_is_named_before_work_begins,
                a_program_that_fails_half_way_makes_no_image,
                who_interrupts_it_finds_nothing_half_done;
            found: archives_are_read_as_go_reads_them,
                access_control_lists_outside_of_what_is_taken_are_nobodys_loss,
                a_frame_to_be_skipped_before_zstandard_is_skipped,
                what_overlayfs_notes_down_is_applied_between_layers,
                what_is_about_files_below_is_told_or_refused,
                an_upper_directory_is_told_about,
                indexes_are_read_as_engines_read_them,
                an_index_that_names_what_is_not_there_says_what_is;
            go_tar: random_archives_are_read_as_go_reads_them,
                archives_of_gos_own_tests_are_read_as_go_reads_them,
                each_kind_of_archive_is_read_or_refused_as_go_does;
            hostile_layers: paths_that_lead_upwards_are_refused,
                absolute_names_and_links_stay_inside,
                links_in_circles_and_files_as_directories_are_refused,
                absurd_paths_are_refused,
                hard_links_and_attributes_count_too,
                bombs_are_bounded,
                memory_is_bounded_whatever_is_held_in_it,
                attributes_and_records_are_counted,
                what_is_taken_away_at_great_depth_takes_no_longer,
                maps_of_holes_have_to_hold_together,
                broken_archives_are_refused_where_they_break,
                no_archive_leads_out_of_the_tree_or_into_a_panic,
                the_archive_that_is_damaged_is_a_good_one;
            hostile_registry: endless_answers_are_cut_while_they_are_read,
                credentials_go_nowhere_without_tls_and_only_where_the_registry_says,
                redirections_end_and_words_of_a_registry_are_harmless;
            hosts: what_would_hide_usual_hosts_is_told_or_refused;
            key_forms: every_usual_form_of_a_file_is_read,
                what_no_boot_accepts_is_named,
                a_provider_gives_key_and_certificate,
                a_pin_is_asked_for_on_a_terminal_once,
                a_key_in_a_token_signs;
            layers: a_whiteout_takes_away_what_lower_layers_put,
                an_opaque_directory_hides_all_of_it_below,
                what_took_the_place_of_a_link_takes_nothing_away_where_that_led,
                upper_layers_replace_files_and_describe_directories_anew,
                links_on_the_way_are_followed_inside_the_tree,
                the_last_layer_alone_is_what_kairos_users_mean,
                layers_are_named_by_words_or_numbers,
                hard_links_share_one_node_and_reach_into_layers_below,
                archives_of_gnu_tar_keep_holes_names_owners_times_and_attributes;
            meant: a_registry_is_asked_only_where_it_is_named,
                a_file_that_is_there_is_recognized_or_named,
                the_size_of_a_directory_is_bounded_too,
                what_the_other_layers_have_is_told_or_refused,
                a_name_may_be_that_of_the_file,
                a_file_may_be_named_as_output,
                what_is_no_extension_is_not_replaced;
            peers: images_of_repart_and_of_build_hold_the_same_and_get_the_same_verdict,
                attributes_are_kept_as_repart_keeps_them,
                systemd_dissect_and_inspect_show_the_same_partitions,
                an_image_is_signed_so_that_openssl_agrees;
            registry: a_registry_gives_what_was_pushed_to_those_who_may_have_it,
                credentials_are_found_where_the_tools_keep_them,
                of_several_architectures_the_one_that_is_wanted_is_fetched;
            podman: the_step_of_the_tutorial_needs_no_service;
            reproducible: neither_order_nor_path_nor_time_nor_threads_matter,
                threads_do_not_matter_and_progress_never_stands_still,
                an_archive_in_another_order_gives_the_same_bytes,
                other_content_or_another_name_gives_other_identities;
            service: a_service_is_asked_for_the_image_by_its_full_name,
                a_bare_name_is_looked_for_in_the_service_and_nowhere_else,
                a_service_that_is_there_and_does_not_answer_is_not_passed_over,
                what_a_service_sends_is_bounded_and_not_believed,
                podmans_service_gives_what_is_in_its_storage;
            signers: whatever_openssl_signs_in_der_is_accepted,
                two_signers_of_different_kinds_sign_together,
                a_signature_value_from_elsewhere_is_put_into_a_structure,
                other_forms_are_refused_with_a_sentence_that_says_what_to_do,
                a_signature_value_has_one_form,
                the_certificate_that_systemd_would_take_decides;
            signing: an_image_is_one_that_a_boot_accepts,
                the_verdict_is_another_one_for_a_machine_that_trusts_somebody_else,
                an_encrypted_key_is_opened_with_a_passphrase_from_a_file_or_the_environment,
                an_encrypted_key_without_anybody_to_ask_says_how_to_go_on,
                what_no_machine_would_accept_is_refused_before_work_begins,
                files_that_are_no_keys_are_named,
                a_signature_made_elsewhere_completes_the_image,
                a_signature_that_no_boot_would_accept_makes_no_image,
                what_was_damaged_since_it_was_built_is_not_signed,
                an_image_is_signed_anew_whatever_its_uuids_are,
                keys_that_others_can_read_are_told_about,
                an_image_is_signed_anew_for_other_machines;
        ),
    )
}
