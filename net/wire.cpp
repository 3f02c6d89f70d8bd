#include "net/wire.h"

#include <utility>

#include "base/pack.h"
#include "config/limits.h"

namespace gpupool {
namespace {

// The table of message types. A number is never used again for something else; all are below 128,
// so that msgpack writes them in one byte. Client to pool: 1 to 63. Pool to client: 64 to 127.
template <class Message>
constexpr unsigned char type_of = 0;
template <>
constexpr unsigned char type_of<Hello> = 1;
template <>
constexpr unsigned char type_of<Bye> = 2;
template <>
constexpr unsigned char type_of<ClientPing> = 3;
template <>
constexpr unsigned char type_of<ClientSubmit> = 10;
template <>
constexpr unsigned char type_of<ClientCancel> = 11;
template <>
constexpr unsigned char type_of<ClientWatch> = 12;
template <>
constexpr unsigned char type_of<ClientQuota> = 13;
template <>
constexpr unsigned char type_of<ClientReceipts> = 14;
template <>
constexpr unsigned char type_of<ClientJobs> = 15;
template <>
constexpr unsigned char type_of<ClientExplain> = 16;
template <>
constexpr unsigned char type_of<ClientFetch> = 17;
template <>
constexpr unsigned char type_of<ClientLogs> = 18;
template <>
constexpr unsigned char type_of<ClientChanges> = 19;
template <>
constexpr unsigned char type_of<ClientOperate> = 20;
template <>
constexpr unsigned char type_of<ClientUsage> = 21;
template <>
constexpr unsigned char type_of<ClientQuote> = 22;
template <>
constexpr unsigned char type_of<ClientUpload> = 23;
template <>
constexpr unsigned char type_of<ClientOverview> = 24;
template <>
constexpr unsigned char type_of<SessionWelcome> = 64;
template <>
constexpr unsigned char type_of<SessionError> = 65;
template <>
constexpr unsigned char type_of<SessionPong> = 66;
template <>
constexpr unsigned char type_of<SessionRefused> = 70;
template <>
constexpr unsigned char type_of<JobEvent> = 71;
template <>
constexpr unsigned char type_of<JobDone> = 72;
template <>
constexpr unsigned char type_of<QuotaAnswer> = 73;
template <>
constexpr unsigned char type_of<ReceiptsAnswer> = 74;
template <>
constexpr unsigned char type_of<JobsAnswer> = 75;
template <>
constexpr unsigned char type_of<ExplainAnswer> = 76;
template <>
constexpr unsigned char type_of<ResultChunk> = 77;
template <>
constexpr unsigned char type_of<LogChunk> = 78;
template <>
constexpr unsigned char type_of<ChangesAnswer> = 79;
template <>
constexpr unsigned char type_of<OperateAnswer> = 80;
template <>
constexpr unsigned char type_of<SessionNotice> = 81;
template <>
constexpr unsigned char type_of<UsageAnswer> = 82;
template <>
constexpr unsigned char type_of<QuoteAnswer> = 83;
template <>
constexpr unsigned char type_of<UploadAnswer> = 84;
template <>
constexpr unsigned char type_of<OverviewAnswer> = 85;

constexpr unsigned char two_elements = 0x92;  // msgpack: an array of two
constexpr std::size_t header_bytes = 2;       // that byte and the type

// The part of a Hello that every version of the protocol can read.
struct HelloStart {
  std::string magic;
  std::uint32_t version = 0;
  auto fields() { return std::tie(magic, version); }
};

Error too_large(std::size_t bytes) {
  return Error{.code = Errc::frame_too_large,
               .want = static_cast<std::int64_t>(bytes),
               .have = limits::frame_bytes_max};
}

Error malformed(std::string_view frame, std::string detail) {
  return Error{.code = Errc::malformed_frame,
               .have = static_cast<std::int64_t>(frame.size()),
               .detail = std::move(detail)};
}

template <class Variant>
Result<std::string> encode_any(const Variant& message) {
  std::string frame = std::visit(
      []<class Message>(const Message& body) {
        static_assert(type_of<Message> > 0 && type_of<Message> < 128);
        std::string bytes{static_cast<char>(two_elements), static_cast<char>(type_of<Message>)};
        return bytes += pack(body);
      },
      message);
  if (std::cmp_greater(frame.size(), limits::frame_bytes_max)) return too_large(frame.size());
  return frame;
}

// Fills `found` with the alternative whose type number is `type`, if there is one.
template <class Variant, class Message>
bool decode_as(unsigned char type, std::string_view body, Result<Variant>& found) {
  if (type != type_of<Message>) return false;
  Result<Message> message = unpack<Message>(body);
  if (message)
    found = Variant{std::move(*message)};
  else
    found = malformed(body, "the fields of message type " + std::to_string(type));
  return true;
}

template <class Variant, std::size_t... Index>
Result<Variant> decode_body(unsigned char type, std::string_view body,
                            std::index_sequence<Index...>) {
  Result<Variant> found{Error{.code = Errc::unknown_message, .want = type}};
  (decode_as<Variant, std::variant_alternative_t<Index, Variant>>(type, body, found) || ...);
  return found;
}

template <class Variant>
Result<Variant> decode_any(std::string_view frame) {
  if (std::cmp_greater(frame.size(), limits::frame_bytes_max)) return too_large(frame.size());
  if (frame.size() <= header_bytes || static_cast<unsigned char>(frame[0]) != two_elements)
    return malformed(frame, "a frame is a msgpack array of a type and a body");
  const auto type = static_cast<unsigned char>(frame[1]);
  if (type > 127) return malformed(frame, "a message type is one byte below 128");
  return decode_body<Variant>(type, frame.substr(header_bytes),
                              std::make_index_sequence<std::variant_size_v<Variant>>{});
}

// A Hello of another version may have other fields after its first two, so these are read first.
Status same_protocol(std::string_view frame) {
  if (std::cmp_greater(frame.size(), limits::frame_bytes_max)) return too_large(frame.size());
  if (frame.size() <= header_bytes || static_cast<unsigned char>(frame[1]) != type_of<Hello>)
    return ok();
  const Result<HelloStart> start = unpack<HelloStart>(frame.substr(header_bytes));
  if (!start || start->magic != protocol_magic)
    return malformed(frame, "a hello begins with the protocol's name and version");
  if (start->version != protocol_version)
    return Error{.code = Errc::version_mismatch, .want = start->version, .have = protocol_version};
  return ok();
}

}  // namespace

Result<std::string> encode(const FromClient& message) { return encode_any(message); }
Result<std::string> encode(const ToClient& message) { return encode_any(message); }

Result<FromClient> decode_from_client(std::string_view frame) {
  if (Status speaks = same_protocol(frame); !speaks) return speaks.error();
  return decode_any<FromClient>(frame);
}

Result<ToClient> decode_from_pool(std::string_view frame) { return decode_any<ToClient>(frame); }

std::uint64_t query_of(const ToClient& message) {
  return std::visit(
      [](const auto& body) -> std::uint64_t {
        if constexpr (requires { body.query; })
          return body.query;
        else
          return 0;
      },
      message);
}

std::uint64_t body_hash(const JobRequest& body) { return hash_of(pack(body)); }

}  // namespace gpupool
