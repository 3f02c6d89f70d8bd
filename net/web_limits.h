#pragma once
// How much the web front takes on at once. What is beyond is refused as overloaded.

#include <cstdint>

namespace gpupool::web_limits {

inline constexpr std::int64_t questions_max = 1'024;  // of the page and REST, unanswered
inline constexpr std::int64_t streams_max = 4'096;    // pages that are open
inline constexpr std::int64_t submits_max = 64;       // of one stream, unanswered
inline constexpr std::int64_t followed_max = 64;      // jobs of one stream
inline constexpr std::int64_t result_bytes_max = 16 * 1024 * 1024;  // larger: not over HTTP
inline constexpr std::int64_t held_bytes_max = 128 * 1024 * 1024;   // of all on their way
inline constexpr std::int64_t metrics_max = 16;                     // scrapes at once
inline constexpr std::int64_t account_streams_max = 128;            // of one account

}  // namespace gpupool::web_limits
