//! What is put into an image: the layout of `make install`, initrds made with the dracut module, the units as
//! systemd reads them, the message catalogue.
//!
//! Most of it needs the trees that `tests/toolbox/prepare` makes.
#![allow(clippy::unwrap_used)]

mod agent;
mod catalogue;
mod containers;
mod documentation;
mod drop_ins;
mod failures;
mod image;
mod inspect;
mod install;
mod installed;
mod kairos;
mod manual;
mod packages;
use xtask::pages;
mod stages;
mod trees;
mod units;

use std::process::ExitCode;
use support::{cases, harness};

fn main() -> ExitCode {
    harness::run(
        "initrd",
        cases!(
            agent: the_agent_is_static_and_small,
                a_dynamic_program_would_be_noticed,
                the_agent_runs_with_nothing_around_it;
            catalogue: every_kind_of_event_is_explained,
                only_fields_that_entries_have_are_named,
                only_what_is_installed_is_referred_to,
                journalctl_takes_the_catalogue;
            containers: the_recipe_copies_what_is_installed,
                the_recipe_for_kairos_makes_an_image_that_is_ready;
            documentation: the_line_for_dracut_puts_the_agent_into_the_image,
                the_commands_for_other_initrds_make_a_whole_one,
                the_kernel_modules_are_the_ones_that_are_loaded;
            drop_ins: whatever_systemd_runs_to_merge_runs_with_the_strict_policy,
                whatever_systemd_runs_to_merge_is_told_where,
                no_unit_of_systemd_that_merges_is_forgotten,
                the_gate_is_no_alternative,
                our_drop_ins_have_the_last_word,
                nothing_is_merged_on_the_host_that_was_not_judged,
                a_restart_takes_nothing_down,
                the_timeouts_of_others_are_reset,
                a_call_by_hand_has_the_strict_policy_too,
                the_host_gets_the_drop_ins_of_the_initrd;
            failures: no_image_without_the_agent,
                no_image_without_a_unit,
                no_image_without_the_gate,
                no_image_without_a_certificate_that_was_meant_to_be_in_it,
                no_image_with_a_drop_in_that_the_agent_refuses,
                no_image_without_what_the_module_depends_on,
                no_image_without_dm_verity;
            image: an_image_holds_everything_that_the_agent_needs,
                the_gate_is_closed_where_the_agent_fails,
                a_host_only_image_has_the_kernel_modules_too,
                nobody_gets_the_agent_who_did_not_ask_for_it;
            inspect: an_initrd_by_dracut_is_ready_and_one_that_lacks_a_part_is_not,
                an_image_of_kairos_is_ready_and_one_that_lacks_a_part_is_not,
                what_is_sealed_is_read_as_the_agent_reads_it,
                an_agent_elsewhere_is_found;
            install: the_layout_is_the_one_that_is_promised,
                another_directory_is_named_wherever_the_usual_one_was,
                dracut_puts_the_agent_where_the_units_call_it,
                presets_enable_the_units_in_an_initrd,
                every_page_that_an_installed_file_refers_to_is_installed,
                nothing_on_the_host_closes_the_gate,
                the_manual_tells_every_command_and_option;
            kairos: the_tree_is_all_that_an_image_needs,
                the_page_says_what_is_copied_and_how,
                an_image_that_lacks_a_file_merges_nothing,
                yip_calls_the_agent_in_the_stages_of_a_boot,
                a_directory_below_run_tells_systemctl_that_systemd_runs;
            manual: pages_are_clean_and_fit_80_columns,
                an_unclean_page_is_noticed,
                every_variable_that_is_read_is_in_a_page,
                pages_have_the_usual_sections,
                shells_take_the_completions;
            packages: packages_hold_what_make_installs_and_their_own_papers,
                apt_installs_them_and_dracut_takes_what_they_brought;
            stages: stage_files_are_read_as_yip_reads_them,
                yip_runs_the_shipped_files_in_their_stages_only,
                what_is_on_the_medium_is_installed_onto_the_new_esp_and_without_both_nothing_is_done,
                a_broken_file_takes_those_of_its_directory_with_it_and_no_others,
                the_last_file_is_not_the_last_to_run;
            units: systemd_has_nothing_to_say_about_an_initrd,
                systemd_has_nothing_to_say_about_the_drop_ins,
                a_distribution_cannot_bring_back_another_policy,
                the_units_are_shut_in_as_far_as_they_can_be,
                what_mounts_has_no_mount_namespace;
        ),
    )
}
