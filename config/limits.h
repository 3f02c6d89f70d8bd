#pragma once
// Hard maxima of everything that grows, and how they relate. What reaches a maximum is refused with
// the numbers. Settings that an operator may change stand in config.h and stay below these.

#include <cstddef>
#include <cstdint>

namespace gpupool::limits {

inline constexpr std::int64_t frame_bytes_max = 256 * 1024;         // one client message
inline constexpr std::int64_t chunk_bytes_max = 48 * 1024;          // one piece of a result
inline constexpr std::int64_t request_bytes_max = 48 * 1024;        // a packed job request
inline constexpr std::int64_t request_inline_bytes_max = 4 * 1024;  // beyond: a blob
inline constexpr std::int64_t argument_count_max = 32;              // key=value pairs of a request
inline constexpr std::int64_t argument_key_bytes_max = 64;
inline constexpr std::int64_t argument_bytes_max = 32 * 1024;  // one value, e.g. a prompt
inline constexpr std::int64_t name_bytes_max = 64;             // app, tier, size, node, partition
inline constexpr std::int64_t account_bytes_max = 128;
inline constexpr std::int64_t token_bytes_max = 4 * 1024;
inline constexpr std::int64_t detail_bytes_max = 512;  // an error's own words
inline constexpr std::int64_t result_bytes_max = 64 * 1024 * 1024;
inline constexpr std::int64_t command_words_max = 512;         // of one command line
inline constexpr std::int64_t command_bytes_max = 128 * 1024;  // all its words, filled in
inline constexpr std::int64_t parameters_max = 32;             // of one app
inline constexpr std::int64_t parameter_choices_max = 256;     // of one of them
inline constexpr std::int64_t files_max = 1'000;               // that one run is given, or gives
inline constexpr std::int64_t file_name_bytes_max = 1'024;     // with its folders
inline constexpr std::int64_t file_depth_max = 32;             // folders around it
inline constexpr std::int64_t files_bytes_max = 32 * 1024 * 1024;  // packed, that a run is given
inline constexpr std::int64_t upload_piece_bytes = chunk_bytes_max;
inline constexpr std::int64_t uploads_max = 10'000;                      // of a pool
inline constexpr std::int64_t uploads_bytes_max = 1024LL * 1024 * 1024;  // of all of them
inline constexpr std::int64_t account_uploads_bytes_max = 128 * 1024 * 1024;
inline constexpr std::int64_t upload_keep_ms = 3600 * 1000;  // of one that no open job works on

inline constexpr std::int64_t jobs_max = 1'000'000;      // admitted jobs of a pool
inline constexpr std::int64_t blobs_max = 5'000;         // of them with large requests: 240 MB
inline constexpr std::int64_t requests_max = 2'000'000;  // remembered request ids
inline constexpr std::int64_t sessions_max = 20'000;
inline constexpr std::int64_t session_jobs_max = 1'024;  // jobs one client follows at once
inline constexpr std::int64_t session_queries_max = 64;  // unanswered questions of one client
inline constexpr std::int64_t nodes_max = 1'024;
inline constexpr std::int64_t brokers_max = 8;  // that a worker or client tries in turn
inline constexpr std::int64_t rank_address_bytes_max =
    64 * 1024;                                          // left by one rank for the others
inline constexpr std::int64_t rank_addresses_max = 64;  // of one run, that wait for a rank
inline constexpr std::int64_t slots_per_node_max = 256;
inline constexpr std::int64_t slot_words_bytes_max = 120;  // why a slot is down, in heartbeats
inline constexpr std::int64_t warm_executors_max = 16;     // of one slot
inline constexpr std::int64_t unseen_ends_max = 1'024;     // ended runs a broker hasn't seen
inline constexpr std::int64_t receipts_page_max = 50;
inline constexpr std::int64_t jobs_page_max = 40;
inline constexpr std::int64_t refusals_remembered_max = 4'096;
inline constexpr std::int64_t refusals_explained_max = 8;     // of one request id, in its story
inline constexpr std::int64_t refusals_searched_max = 64;     // of one account, for them
inline constexpr std::int64_t usage_days_max = 400;           // of one answer
inline constexpr std::int64_t history_waiting_max = 100'000;  // questions until it has caught up
inline constexpr std::int64_t job_moments_max = 32;           // of one job's story
inline constexpr std::int64_t ledger_batch_max = 4'096;  // commands and questions of one commit
inline constexpr std::int64_t ledger_batch_blob_bytes_max = 4 * 1024 * 1024;  // and of its blobs
inline constexpr std::int64_t journal_read_bytes = 4 * 1024 * 1024;  // for the history at a time
inline constexpr std::int64_t history_page_records = 8'192;          // when nobody waits for less
inline constexpr std::int64_t client_queue_max = 1'000;  // messages waiting for a slow client
inline constexpr std::int64_t client_queue_bytes_max = 4 * 1024 * 1024;  // their bytes

inline constexpr std::int64_t operate_words_max = 32;    // of one operator's command
inline constexpr std::int64_t overview_slots_max = 512;  // likewise, of the whole view
inline constexpr std::int64_t table_rows_max = 200;      // of one answer of the console
inline constexpr std::int64_t changes_max = 10'000;      // remembered by the ledger
inline constexpr std::int64_t changes_page_max = 200;    // of one answer
inline constexpr std::int64_t revocations_max = 10'000;  // tokens and accounts, until they expire
inline constexpr std::int64_t account_tiers_max = 100'000;         // set by operators
inline constexpr std::int64_t orders_remembered_max = 10'000;      // ids of grants and adjustments
inline constexpr std::int64_t credits_ms_max = 1'000'000'000'000;  // of one account: 31 years
inline constexpr std::int64_t announcement_bytes_max = 512;
inline constexpr std::int64_t log_bytes_max = 1024 * 1024;  // kept of what one run writes
inline constexpr std::int64_t log_parts_max = 2'000;  // changes from one of its outputs to another

inline constexpr std::int64_t http_connections_max = 8'192;
inline constexpr std::int64_t http_header_bytes_max = 16 * 1024;  // the request line included
inline constexpr std::int64_t http_body_bytes_max = 64 * 1024;
inline constexpr std::int64_t http_parameters_max = 32;     // of one query
inline constexpr std::int64_t http_events_waiting_max = 8;  // of one stream
inline constexpr std::int64_t visitors_max = 8'192;         // of one node's device API
inline constexpr std::int64_t duration_ms_max = 30LL * 24 * 3600 * 1000;
inline constexpr std::int64_t attempts_max = 3;  // the first run and two more
inline constexpr std::int64_t id_age_ms_max = 48LL * 3600 * 1000;
inline constexpr std::int64_t id_future_ms_max = 5LL * 60 * 1000;

static_assert(chunk_bytes_max < 64 * 1024, "result pieces stay under 64 KiB (caf.md)");
static_assert(request_bytes_max + token_bytes_max + 4096 < frame_bytes_max);
static_assert(argument_bytes_max < request_bytes_max);
static_assert(receipts_page_max * 4096 < frame_bytes_max);
static_assert(request_bytes_max + 8 * 1024 < 64 * 1024, "so do leases");
static_assert(slots_per_node_max * slot_words_bytes_max < 32 * 1024, "and heartbeats");
static_assert(jobs_page_max * (request_inline_bytes_max + 1536) < frame_bytes_max);
static_assert(jobs_max <= requests_max);
static_assert(token_bytes_max * 3 + 2048 < http_header_bytes_max,
              "a token, each byte as %XX, fits");
static_assert(visitors_max <= sessions_max && http_connections_max <= sessions_max);

}  // namespace gpupool::limits
