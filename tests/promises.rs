//! All promises as one program: it is linked once, and a test that waits leaves its processor to another.
//!
//! One file per promise; `cargo test survives_kill_9` runs one of them.

mod a_dead_backend_harms_nobody;
mod a_full_disk_loses_nothing;
mod a_prompt_runs_once;
mod a_question_waits_for_its_answer;
mod a_refusal_is_told_and_mended;
mod a_slow_reader_harms_nobody;
mod a_turn_ends_in_the_agents_own_way;
mod a_whole_job_is_one_request;
mod acp_clients_find_an_agent;
mod an_ended_turn_is_ended;
mod architecture;
mod cli;
mod cli_shows_it;
mod damage_stays_where_it_is;
mod delivery_finds_its_way;
mod delivery_is_visible;
mod delivery_loses_nothing;
mod errors_answer_as_worded;
mod every_byte_arrives;
mod example_backend;
mod execute_stands_in;
mod knows_its_sandbox;
mod nobody_gets_in_first;
mod nothing_leaks;
mod one_configuration_for_all;
mod one_cursor_serves_all;
mod one_vocabulary_for_all;
mod real_clis;
mod sdk_clients_find_their_server;
mod secrets_stay_inside;
mod sleeps_until_needed;
mod stdin_is_never_left_open;
mod stop_leaves_no_survivor;
mod storage_stands_in;
mod support;
mod survives_kill_9;
mod the_binary_is_static;
mod the_examples_run;
mod the_hostile_backend_is_hostile;
mod the_template_builds;
mod wakes_up_well;
mod what_a_sink_has_not_had_is_kept;
mod what_changed_can_be_taken_away;
mod what_happened_is_told;
