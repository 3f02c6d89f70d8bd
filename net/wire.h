#pragma once
// The client protocol's bytes (net/PROTOCOL.md): frames <-> the structs of actors/messages.h. A
// frame is the msgpack array [type, body]; types are stable numbers of their own in one table, so a
// frame starts with the two bytes 0x92 and its type. Bodies are append-only field lists, which is
// how releases understand each other. Decoding never throws, and answers malformed_frame,
// frame_too_large, unknown_message or version_mismatch. Pure: no sockets, any thread.

#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>

#include "actors/messages.h"
#include "base/result.h"

namespace gpupool {

inline constexpr std::uint32_t protocol_version = 1;
inline constexpr std::string_view protocol_magic = "gpupool";

// The first message on a connection. Its first two fields never change, in any version.
struct Hello {
  std::string magic{protocol_magic};
  std::uint32_t version = protocol_version;
  std::string token;    // empty: by network address. A secret: never logged
  std::string program;  // name and build of the client
  auto fields() { return std::tie(magic, version, token, program); }
};

// The client leaves; queued jobs that are not detached have their grace from now on.
struct Bye {
  std::uint8_t unused = 0;
  auto fields() { return std::tie(unused); }
};

using FromClient =
    std::variant<Hello, Bye, ClientPing, ClientSubmit, ClientCancel, ClientWatch, ClientQuota,
                 ClientReceipts, ClientJobs, ClientExplain, ClientFetch, ClientLogs, ClientChanges,
                 ClientOperate, ClientUsage, ClientQuote, ClientUpload, ClientOverview>;

// frame_too_large if the packed message would not fit into limits::frame_bytes_max.
Result<std::string> encode(const FromClient& message);
Result<std::string> encode(const ToClient& message);

// What a client sent to the pool. A Hello of another protocol version is version_mismatch (want:
// the client's, have: ours).
Result<FromClient> decode_from_client(std::string_view frame);
// What the pool sent to a client.
Result<ToClient> decode_from_pool(std::string_view frame);

// The number that an answer names its question by; 0 for messages that carry none.
std::uint64_t query_of(const ToClient& message);

// Tells one request body from another under the same request id.
std::uint64_t body_hash(const JobRequest& body);

}  // namespace gpupool
